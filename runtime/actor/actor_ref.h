// A handle to an actor somewhere in the job. A small value: it can be copied, and passed to other
// actors as an argument.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>

#include "runtime/actor/future.h"
#include "runtime/actor/messages.h"
#include "runtime/actor/registry.h"

namespace desta::runtime {

class ActorSystem;

namespace detail {

// kMethod is a method of Actor and takes these arguments.
template <typename Actor, auto kMethod, typename... Args>
concept CallableOn = std::is_member_function_pointer_v<decltype(kMethod)> &&
    std::is_base_of_v<typename MethodTraits<decltype(kMethod)>::Class, Actor> &&
    MethodTraits<decltype(kMethod)>::template accepts<Args...>();

}  // namespace detail

template <typename Actor>
class ActorRef {
 public:
  // A reference to no actor: only to be assigned to.
  ActorRef() = default;
  ActorRef(ActorSystem* system, detail::ActorAddress address)
      : system_(system), address_(std::move(address)) {}

  [[nodiscard]] const std::string& name() const { return address_.name; }
  [[nodiscard]] int node() const { return address_.node; }

  // Sends a call and returns a Future of the method's result. Calls of one thread to one actor
  // are served in order. Arguments that the method does not take do not compile. Throws
  // InternalError when the method is not registered; all other errors come with the answer.
  template <auto kMethod, typename... Args>
  requires detail::CallableOn<Actor, kMethod, Args...>
  auto call(Args&&... args) const;

  // Done when the constructor has finished; fails with ActorDied when it threw.
  Future<void> ready() const { return send<void>("", ""); }

  template <class Archive>
  void save(Archive& archive) const {
    archive(address_);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(address_);
    system_ = detail::CurrentSystem::get();
  }

 private:
  template <typename Result>
  Future<Result> send(const std::string& method, std::string arguments) const;

  ActorSystem* system_ = nullptr;
  detail::ActorAddress address_;
};

}  // namespace desta::runtime
