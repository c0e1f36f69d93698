#include "runtime/actor/actor_ref.h"

#include "runtime/actor/actor_system.h"
#include "runtime/actor/control_call.h"

namespace desta::runtime::detail {

bool admit(ActorHandle& handle, const CallOptions& options) {
  if (handle.admit()) {
    return true;
  }
  return options.wait_for_room &&
         handle.core.scheduler().wait_until([&handle] { return handle.admit(); }, std::nullopt);
}

void refuse_for_room(FutureBase& future) {
  const int limit = future.handle()->address.max_pending_calls;
  future.fail(ReplyStatus::kPendingLimit,
              {ErrorKind::kInternal, "",
               fmt::format("PendingCallsLimitExceeded: {} calls wait already, the limit of "
                           "max_pending_calls; wait for answers before calling on",
                           limit),
               future.actor_name(), future.method_name()});
}

void check_handle(const ActorHandle* handle) {
  if (handle == nullptr) {
    throw InternalError("a reference to no actor was called");
  }
}

std::shared_ptr<ActorHandle> handle_from(ActorSystem* system, const ActorAddress& address) {
  if (system == nullptr) {
    throw InternalError("a reference to actor {} was read outside of an actor system",
                        address.name);
  }
  return system->core().handle(address);
}

Future<void> control(const std::shared_ptr<ActorHandle>& handle, std::uint32_t number) {
  check_handle(handle.get());
  NodeCore& core = handle->core;
  const MethodEntry& method = control_method(number);
  if (ActorCell* cell = handle->local.load(std::memory_order_acquire); cell != nullptr) {
    auto* call = new LocalControlCall(core.scheduler(), handle, method, core.caller());
    boost::intrusive_ptr<FutureState<void>> state(call);
    cell->enqueue(*call);
    return Future<void>(std::move(state));
  }
  boost::intrusive_ptr<FutureState<void>> state(
      new FutureState<void>(core.scheduler(), handle, &method));
  WireWriter message;
  core.begin_call(message, *state, method);
  core.send_call(*state, message, handle->address.max_task_retries);
  return Future<void>(std::move(state));
}

}  // namespace desta::runtime::detail
