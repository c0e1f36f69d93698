// What a method of an actor takes and gives. Private to this folder.
#pragma once

#include <string>
#include <tuple>
#include <type_traits>

#include "runtime/actor/task.h"

namespace desta::runtime::detail {

template <typename C, typename R, typename... A>
struct MethodShape {
  using Class = C;
  using Returned = std::decay_t<R>;
  using Result = typename Untasked<Returned>::type;
  static constexpr bool is_task = Untasked<Returned>::is_task;
  using Arguments = std::tuple<std::decay_t<A>...>;
  static_assert(
      ((!std::is_lvalue_reference_v<A> || std::is_const_v<std::remove_reference_t<A>>)&&...),
      "a method of an actor cannot change its caller's arguments: take a value or const&");
  template <typename... Given>
  static constexpr bool accepts() {
    if constexpr (sizeof...(Given) == sizeof...(A)) {
      return (std::is_convertible_v<Given, std::decay_t<A>> && ...);
    } else {
      return false;
    }
  }
};

template <typename Method>
struct MethodTraits;
template <typename C, typename R, typename... A>
struct MethodTraits<R (C::*)(A...)> : MethodShape<C, R, A...> {};
template <typename C, typename R, typename... A>
struct MethodTraits<R (C::*)(A...) const> : MethodShape<C, R, A...> {};
template <typename C, typename R, typename... A>
struct MethodTraits<R (C::*)(A...) noexcept> : MethodShape<C, R, A...> {};
template <typename C, typename R, typename... A>
struct MethodTraits<R (C::*)(A...) const noexcept> : MethodShape<C, R, A...> {};

// kMethod is a method of Actor and takes these arguments.
template <typename Actor, auto kMethod, typename... Args>
concept CallableOn = std::is_member_function_pointer_v<decltype(kMethod)> &&
    std::is_base_of_v<typename MethodTraits<decltype(kMethod)>::Class, Actor> &&
    MethodTraits<decltype(kMethod)>::template accepts<Args...>();

// A string literal travels as a std::string.
template <typename T>
using Packed =
    std::conditional_t<std::is_convertible_v<T, const char*>, std::string, std::decay_t<T>>;

}  // namespace desta::runtime::detail
