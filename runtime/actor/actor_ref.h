// A handle to an actor somewhere in the job. A small value: it can be copied, and passed to other
// actors as an argument.
#pragma once

#include <concepts>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "runtime/actor/actor_handle.h"
#include "runtime/actor/call.h"
#include "runtime/actor/future.h"
#include "runtime/actor/node_core.h"
#include "runtime/actor/registry.h"

namespace desta::runtime {

class ActorSystem;

// How one reference makes its calls.
struct CallOptions {
  // Past max_pending_calls: fail with PendingCallsLimitExceeded, or hold the calling thread until
  // there is room.
  bool wait_for_room = false;
  // -1: as the actor was spawned with.
  int max_task_retries = -1;
};

namespace detail {

// Counts a call; with wait_for_room it waits until it can.
[[nodiscard]] bool admit(ActorHandle& handle, const CallOptions& options);
void refuse_for_room(FutureBase& future);
// Throws InternalError for a reference to no actor.
void check_handle(const ActorHandle* handle);
[[nodiscard]] std::shared_ptr<ActorHandle> handle_from(ActorSystem* system,
                                                       const ActorAddress& address);
[[nodiscard]] Future<void> control(const std::shared_ptr<ActorHandle>& handle,
                                   std::uint32_t method);

template <typename Parameter, typename Given>
void pack_as(WireWriter& writer, const Given& given) {
  if constexpr (std::is_same_v<Parameter, Given>) {
    writer(given);
  } else {
    writer(static_cast<Parameter>(given));
  }
}

template <typename Arguments, std::size_t... kIndex, typename... Given>
void pack_all(WireWriter& writer, std::index_sequence<kIndex...>, const Given&... given) {
  (pack_as<std::tuple_element_t<kIndex, Arguments>>(writer, given), ...);
}

}  // namespace detail

template <typename Actor>
class ActorRef {
 public:
  // A reference to no actor: only to be assigned to.
  ActorRef() = default;
  explicit ActorRef(std::shared_ptr<detail::ActorHandle> handle) : handle_(std::move(handle)) {}

  [[nodiscard]] const std::string& name() const { return handle_->address.name; }
  // Where it is now.
  [[nodiscard]] int node() const { return handle_->node; }

  // The same actor, called otherwise.
  [[nodiscard]] ActorRef with(CallOptions options) const {
    ActorRef other = *this;
    other.options_ = options;
    return other;
  }

  // Sends a call and returns a Future of the method's result. Calls of one thread to one group of
  // one actor begin in order. Arguments that the method does not take do not compile. Throws
  // InternalError when the method is not registered; all other errors come with the answer.
  template <auto kMethod, typename... Args>
  requires detail::CallableOn<Actor, kMethod, Args...>
  auto call(Args&&... args) const {
    using Traits = detail::MethodTraits<decltype(kMethod)>;
    using Result = typename Traits::Result;
    using Arguments = typename Traits::Arguments;
    using State = detail::FutureState<Result>;
    const detail::MethodEntry& method = detail::entry_of<Actor, kMethod>();
    detail::check_handle(handle_.get());
    detail::NodeCore& core = handle_->core;
    if (!detail::admit(*handle_, options_)) {
      boost::intrusive_ptr<State> state(new State(core.scheduler(), handle_, &method));
      detail::refuse_for_room(*state);
      return Future<Result>(std::move(state));
    }
    if (detail::ActorCell* cell = handle_->local.load(std::memory_order_acquire); cell != nullptr) {
      auto* call = new detail::LocalCall<Actor, kMethod>(
          core.scheduler(), handle_, method, core.caller(),
          Arguments(static_cast<std::decay_t<Args>>(std::forward<Args>(args))...));
      boost::intrusive_ptr<State> state(call);
      state->counted = true;
      cell->enqueue(*call);
      return Future<Result>(std::move(state));
    }
    boost::intrusive_ptr<State> state(new State(core.scheduler(), handle_, &method));
    state->counted = true;
    WireWriter message;
    core.begin_call(message, *state, method);
    detail::pack_all<Arguments>(message, std::index_sequence_for<Args...>(), args...);
    core.send_call(*state, message,
                   options_.max_task_retries < 0 ? handle_->address.max_task_retries
                                                 : options_.max_task_retries);
    return Future<Result>(std::move(state));
  }

  // Done when the constructor has finished; fails with ActorDied when it threw.
  Future<void> ready() const { return detail::control(handle_, detail::kReadyMethod); }
  // Ends the actor after the calls that were made before. (ActorSystem::kill() does not wait.)
  Future<void> terminate() const { return detail::control(handle_, detail::kTerminateMethod); }

  [[nodiscard]] bool operator==(const ActorRef& other) const { return handle_ == other.handle_; }
  [[nodiscard]] const std::shared_ptr<detail::ActorHandle>& handle() const { return handle_; }

  void save(WireWriter& archive) const {
    detail::ActorAddress address = handle_ == nullptr ? detail::ActorAddress{} : handle_->address;
    if (handle_ != nullptr) {
      address.node = handle_->node;
    }
    archive(address);
  }
  void load(WireReader& archive) {
    detail::ActorAddress address;
    archive(address);
    handle_ = address.id == 0 ? nullptr : detail::handle_from(archive.system(), address);
  }

 private:
  std::shared_ptr<detail::ActorHandle> handle_;
  CallOptions options_;
};

}  // namespace desta::runtime
