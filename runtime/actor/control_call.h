// What every actor answers without a method of its own: ready() and terminate(). Private to this
// folder.
#pragma once

#include <memory>
#include <utility>

#include "runtime/actor/call.h"

namespace desta::runtime::detail {

// Of method kReadyMethod or kTerminateMethod.
[[nodiscard]] const MethodEntry& control_method(std::uint32_t number);

// Answers; for kTerminateMethod it ends the actor first.
void execute_control(Call& call, ActorCell& cell);

class LocalControlCall final : public FutureState<void>, public Call {
 public:
  LocalControlCall(Scheduler& scheduler, std::shared_ptr<ActorHandle> handle,
                   const MethodEntry& method, Caller caller)
      : FutureState<void>(scheduler, std::move(handle), &method), Call(method, caller) {
    intrusive_ptr_add_ref(static_cast<FutureBase*>(this));  // the mailbox's
  }
  [[nodiscard]] Call* as_call() override { return this; }
  void execute(void* /*actor*/, ActorCell& cell) override { execute_control(*this, cell); }
  void answer() override {
    if (claim()) {
      set({});
    }
  }
  void refuse(ReplyStatus status, RemoteError error) override { fail(status, std::move(error)); }
  void release() override { intrusive_ptr_release(static_cast<FutureBase*>(this)); }
};

class RemoteControlCall final : public Call {
 public:
  RemoteControlCall(const MethodEntry& method, IncomingCall incoming)
      : Call(method, {incoming.message.from, incoming.header.caller}),
        incoming_(std::move(incoming)) {
    request = incoming_.header.request;
  }
  void execute(void* /*actor*/, ActorCell& cell) override { execute_control(*this, cell); }
  void answer() override {
    WireWriter writer;
    incoming_.begin_reply(writer);
    incoming_.reply_or_log(writer);
  }
  void refuse(ReplyStatus status, RemoteError error) override { incoming_.refuse(status, error); }
  void release() override { delete this; }

 private:
  IncomingCall incoming_;
};

}  // namespace desta::runtime::detail
