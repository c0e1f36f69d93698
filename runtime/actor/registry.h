// The classes that may become actors. Every program of a job registers the same ones at its start,
// from main(), before it makes an ActorSystem:
//
//   actor_type<Stage>("Stage")
//       .constructor<StageOptions>()
//       .method<&Stage::run_step>("run_step")
//       .method<&Stage::losses>("losses");
//
// An actor is a plain class. The arguments of its constructor and methods and the results are
// values that cereal can serialise and that have a default constructor.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeindex>
#include <utility>

#include "runtime/core/wire.h"

namespace desta::runtime {
namespace detail {

template <typename C, typename R, typename... A>
struct MethodShape {
  using Class = C;
  using Result = std::decay_t<R>;
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

template <auto kMethod>
struct MethodTag {};

// A string literal travels as a std::string.
template <typename T>
using Packed =
    std::conditional_t<std::is_convertible_v<T, const char*>, std::string, std::decay_t<T>>;

// Names the argument types of a constructor.
template <typename... Args>
std::string signature_of() {
  return typeid(std::tuple<Args...>).name();
}

struct ActorType {
  std::string name;
  std::type_index class_type = typeid(void);
  std::string signature;
  std::function<std::shared_ptr<void>(const std::string& arguments)> construct;
  std::map<std::string, std::function<std::string(void* actor, const std::string& arguments)>,
           std::less<>>
      methods;
  std::map<std::type_index, std::string> method_names;
};

// The registered types; filled at start, then only read.
class ActorRegistry {
 public:
  static ActorRegistry& instance();
  // The entry to fill. Throws InternalError when another class has this name.
  ActorType& add(const std::string& name, std::type_index class_type);
  // These throw InternalError saying what to register.
  [[nodiscard]] const ActorType& find(std::string_view name) const;
  [[nodiscard]] const ActorType& find(std::type_index class_type) const;

 private:
  std::map<std::string, ActorType, std::less<>> types_;
};

// The registered name of a method. Throws InternalError when it has none.
[[nodiscard]] const std::string& method_name(const ActorType& type, std::type_index method);
// Throws InternalError when the registered constructor takes other types.
void check_signature(const ActorType& type, const std::string& signature);

}  // namespace detail

template <typename Actor>
class ActorTypeBuilder {
 public:
  explicit ActorTypeBuilder(detail::ActorType& type) : type_(type) {}

  // The types that spawn() must be given, exactly.
  template <typename... Args>
  requires std::is_constructible_v<Actor, Args...> ActorTypeBuilder& constructor() {
    type_.signature = detail::signature_of<Args...>();
    type_.construct = [](const std::string& arguments) -> std::shared_ptr<void> {
      return std::apply([](auto&&... args) { return std::make_shared<Actor>(std::move(args)...); },
                        unpack<std::tuple<Args...>>(arguments));
    };
    return *this;
  }

  template <auto kMethod>
  ActorTypeBuilder& method(const std::string& name) {
    using Traits = detail::MethodTraits<decltype(kMethod)>;
    static_assert(std::is_base_of_v<typename Traits::Class, Actor>);
    type_.method_names.emplace(typeid(detail::MethodTag<kMethod>), name);
    type_.methods[name] = [](void* actor, const std::string& bytes) {
      auto arguments = unpack<typename Traits::Arguments>(bytes);
      const auto invoke = [actor](auto&&... args) {
        return (static_cast<Actor*>(actor)->*kMethod)(std::move(args)...);
      };
      if constexpr (std::is_void_v<typename Traits::Result>) {
        std::apply(invoke, std::move(arguments));
        return std::string();
      } else {
        return pack(std::apply(invoke, std::move(arguments)));
      }
    };
    return *this;
  }

 private:
  detail::ActorType& type_;
};

// Registers `Actor` under a name that is the same on all nodes; again is harmless.
template <typename Actor>
ActorTypeBuilder<Actor> actor_type(const std::string& name) {
  return ActorTypeBuilder<Actor>(detail::ActorRegistry::instance().add(name, typeid(Actor)));
}

}  // namespace desta::runtime
