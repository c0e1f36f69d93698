#include "runtime/actor/control_call.h"

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/registry.h"

namespace desta::runtime::detail {
namespace {

MethodEntry make_control(const std::string& name, std::uint32_t number) {
  MethodEntry entry;
  entry.name = name;
  entry.number = number;
  entry.receive = [](const MethodEntry& method, IncomingCall call) -> Call* {
    return new RemoteControlCall(method, std::move(call));
  };
  return entry;
}

}  // namespace

const MethodEntry& control_method(std::uint32_t number) {
  static const MethodEntry ready = make_control("ready", kReadyMethod);
  static const MethodEntry terminate = make_control("terminate", kTerminateMethod);
  return number == kReadyMethod ? ready : terminate;
}

void execute_control(Call& call, ActorCell& cell) {
  if (call.method->number == kTerminateMethod) {
    cell.end({ErrorKind::kInternal, "", "it was asked to end", cell.name(), "terminate"});
  }
  finish_call(cell, call);
}

}  // namespace desta::runtime::detail
