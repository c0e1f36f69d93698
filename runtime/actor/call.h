// One call on the side of the actor that is called: in its mailbox, running, answered. Private to
// this folder.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/actor/errors.h"
#include "runtime/actor/future.h"
#include "runtime/actor/messages.h"
#include "runtime/actor/method_traits.h"
#include "runtime/actor/object_handle.h"
#include "runtime/core/wire.h"
#include "runtime/transport/message.h"

namespace desta::runtime::detail {

class ActorCell;
struct MethodEntry;

class Call {
 public:
  Call(const MethodEntry& method, Caller caller) : method(&method), caller(caller) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Runs the method, then cell.finish(*this): before it returns, or later for a Task.
  virtual void execute(void* actor, ActorCell& cell) = 0;
  // Tells the caller. Exactly one of these two, then release().
  virtual void answer() = 0;
  virtual void refuse(ReplyStatus status, RemoteError error) = 0;
  // The mailbox is done with it.
  virtual void release() = 0;

  const MethodEntry* method;
  const Caller caller;
  std::uint64_t request = 0;  // the caller's number for it, where it came from another node
  Call* next = nullptr;       // in the mailbox
  std::optional<RemoteError> failure;  // what the method threw
  std::atomic<bool> cancelled = false;
  std::chrono::steady_clock::time_point started;
  // What it waits for now, for the report of a hang; null: nothing. Under the cell's mutex.
  const FutureBase* waits_for = nullptr;

 protected:
  virtual ~Call() = default;
};

// The error in flight, as this call's.
[[nodiscard]] RemoteError describe_failure(const ActorCell& cell, const Call& call);
// The method has ended: the cell takes note, answers and releases the call.
void finish_call(ActorCell& cell, Call& call) noexcept;

// The part that knows the types: keeps the arguments, runs the method, keeps its result.
template <typename Actor, auto kMethod>
class TypedCall : public Call {
 public:
  using Traits = MethodTraits<decltype(kMethod)>;
  using Arguments = typename Traits::Arguments;
  using Returned = typename Traits::Returned;
  using Result = typename Traits::Result;
  using Stored = std::conditional_t<std::is_void_v<Result>, Nothing, Result>;

  TypedCall(const MethodEntry& method, Caller caller, Arguments arguments = {})
      : Call(method, caller), arguments_(std::move(arguments)) {}

 protected:
  void run(void* actor, ActorCell& cell) noexcept {
    typename Traits::Class& object = *static_cast<Actor*>(actor);
    const auto apply = [&]() -> Returned {
      return std::apply(
          [&object](auto&... args) -> Returned { return (object.*kMethod)(std::move(args)...); },
          arguments_);
    };
    try {
      if constexpr (Traits::is_task) {
        task_.emplace(apply());
      } else {
        keep(apply);
      }
    } catch (...) {
      failure = describe_failure(cell, *this);
    }
    if constexpr (Traits::is_task) {
      if (!failure.has_value()) {
        task_->start([this, &cell] {
          try {
            keep([this]() -> Result { return task_->take(); });
          } catch (...) {
            failure = describe_failure(cell, *this);
          }
          finish_call(cell, *this);
        });
        return;
      }
    }
    finish_call(cell, *this);
  }

  Arguments& arguments() { return arguments_; }
  Stored& result() { return *result_; }

 private:
  template <typename Function>
  void keep(const Function& function) {
    if constexpr (std::is_void_v<Result>) {
      function();
      result_.emplace();
    } else {
      result_.emplace(function());
    }
  }

  struct NoTask {};
  Arguments arguments_;  // a suspended coroutine may still refer to them
  std::optional<Stored> result_;
  [[no_unique_address]] std::conditional_t<Traits::is_task, std::optional<Task<Result>>, NoTask>
      task_;
};

// A call of an actor on the same node: its arguments are moved, not packed, and it is its own
// future's state.
template <typename Actor, auto kMethod>
class LocalCall final
    : public FutureState<typename MethodTraits<decltype(kMethod)>::Result>,
      public TypedCall<Actor, kMethod> {
 public:
  using Base = TypedCall<Actor, kMethod>;
  using State = FutureState<typename Base::Result>;

  LocalCall(Scheduler& scheduler, std::shared_ptr<ActorHandle> handle, const MethodEntry& method,
            Caller caller, typename Base::Arguments arguments)
      : State(scheduler, std::move(handle), &method),
        Base(method, caller, std::move(arguments)) {
    intrusive_ptr_add_ref(static_cast<FutureBase*>(this));  // the mailbox's
  }

  [[nodiscard]] Call* as_call() override { return this; }
  void execute(void* actor, ActorCell& cell) override { this->run(actor, cell); }
  void answer() override {
    if (this->failure.has_value()) {
      State::fail(ReplyStatus::kFailed, std::move(*this->failure));
    } else if (this->claim()) {
      this->set(std::move(this->result()));
    }
  }
  void refuse(ReplyStatus status, RemoteError error) override {
    State::fail(status, std::move(error));
  }
  void release() override { intrusive_ptr_release(static_cast<FutureBase*>(this)); }
};

// A call that came as a message, and the way back of its answer.
struct IncomingCall {
  NodeCore* core = nullptr;
  Message message;
  Header header;
  std::size_t arguments_at = 0;  // in message.body
  std::vector<ObjectHold> objects{};  // that the arguments refer to

  [[nodiscard]] WireReader arguments() const;
  // Begins the message of a good answer: the result is packed behind it.
  void begin_reply(WireWriter& writer) const;
  // Throws TransportError when it cannot be sent: it is too long, or there is no way any more. Then
  // refuse() tells the caller.
  void reply(WireWriter& writer) const;
  // The same for answers of a few bytes: what cannot be sent is logged.
  void reply_or_log(WireWriter& writer) const;
  void refuse(ReplyStatus status, const RemoteError& error) const;
};

template <typename Actor, auto kMethod>
class RemoteCall final : public TypedCall<Actor, kMethod> {
 public:
  using Base = TypedCall<Actor, kMethod>;

  RemoteCall(const MethodEntry& method, IncomingCall incoming)
      : Base(method, {incoming.message.from, incoming.header.caller}),
        incoming_(std::move(incoming)) {
    this->request = incoming_.header.request;
  }

  void execute(void* actor, ActorCell& cell) override {
    try {
      WireReader reader = incoming_.arguments();
      unpack_into(reader, this->arguments());
      incoming_.message.buffers.clear();
    } catch (...) {
      this->failure = describe_failure(cell, *this);
      finish_call(cell, *this);
      return;
    }
    this->run(actor, cell);
  }
  void answer() override {
    if (this->failure.has_value()) {
      incoming_.refuse(ReplyStatus::kFailed, *this->failure);
      return;
    }
    WireWriter writer;
    incoming_.begin_reply(writer);
    if constexpr (!std::is_void_v<typename Base::Result>) {
      writer(this->result());
    }
    incoming_.reply(writer);
  }
  void refuse(ReplyStatus status, RemoteError error) override {
    incoming_.refuse(status, error);
  }
  void release() override { delete this; }

 private:
  IncomingCall incoming_;
};

}  // namespace desta::runtime::detail
