// The classes that may become actors. Every program of a job registers the same ones at its start,
// from main(), before it makes an ActorSystem:
//
//   actor_type<Stage>("Stage")
//       .constructor<StageOptions>()
//       .concurrency_group("health")
//       .method<&Stage::run_step>("run_step")
//       .method<&Stage::alive>("alive", "health");
//
// An actor is a plain class. The arguments of its constructor and methods and the results are
// values that cereal can serialise (runtime/core/wire.h) and that have a default constructor.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/actor/call.h"
#include "runtime/actor/method_traits.h"
#include "runtime/core/wire.h"

namespace desta::runtime {

// How many calls of a group an actor serves at a time.
struct GroupLimits {
  int threads = 1;  // that run its methods
  // Calls that have begun and not ended. More than `threads` only matters for methods that return a
  // Task: while one waits, the next begins. 0: as many as threads.
  int calls = 0;
};

namespace detail {

struct MethodEntry {
  std::string name;
  std::string signature;  // the method's type
  std::uint32_t number = 0;  // the same on all nodes: made from the name
  std::size_t group = 0;
  std::function<Call*(const MethodEntry&, IncomingCall)> receive;
};

struct GroupEntry {
  std::string name;
  GroupLimits limits;
};

// Names the argument types of a constructor.
template <typename... Args>
std::string signature_of() {
  return typeid(std::tuple<Args...>).name();
}

struct ActorType {
  std::string name;
  std::type_index class_type = typeid(void);
  std::string signature;
  std::function<std::shared_ptr<void>(WireReader& arguments)> construct;
  std::unordered_map<std::uint32_t, std::unique_ptr<MethodEntry>> methods;
  std::vector<GroupEntry> groups = {{"", {.threads = 1, .calls = 1}}};  // the first is that of all other methods
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
  // Equal for programs that registered the same types with the same methods.
  [[nodiscard]] std::string fingerprint() const;

 private:
  std::map<std::string, std::unique_ptr<ActorType>, std::less<>> types_;
};

// Where a method of a type is registered; null until it is.
template <typename Actor, auto kMethod>
inline const MethodEntry* method_entry = nullptr;

[[noreturn]] void throw_not_registered(const std::type_info& actor, const std::type_info& method);
// Throws InternalError when it is not registered.
template <typename Actor, auto kMethod>
const MethodEntry& entry_of() {
  if (method_entry<Actor, kMethod> == nullptr) {
    throw_not_registered(typeid(Actor), typeid(decltype(kMethod)));
  }
  return *method_entry<Actor, kMethod>;
}

// Throws InternalError when the name is taken by another of the type's methods.
MethodEntry& add_method(ActorType& type, const std::string& name, std::string_view group);
// Throws InternalError when the registered constructor takes other types.
void check_signature(const ActorType& type, const std::string& signature);
void add_group(ActorType& type, const std::string& name, GroupLimits limits);

}  // namespace detail

template <typename Actor>
class ActorTypeBuilder {
 public:
  explicit ActorTypeBuilder(detail::ActorType& type) : type_(type) {}

  // The types that spawn() must be given, exactly.
  template <typename... Args>
  requires std::is_constructible_v<Actor, Args...> ActorTypeBuilder& constructor() {
    type_.signature = detail::signature_of<Args...>();
    type_.construct = [](WireReader& reader) -> std::shared_ptr<void> {
      std::tuple<Args...> arguments;
      unpack_into(reader, arguments);
      return std::apply([](auto&... args) { return std::make_shared<Actor>(std::move(args)...); },
                        arguments);
    };
    return *this;
  }

  // Methods of a group have a mailbox of their own: they run beside those of other groups, so the
  // actor must guard what they share. Without limits: one call at a time.
  ActorTypeBuilder& concurrency_group(const std::string& name, GroupLimits limits = {}) {
    detail::add_group(type_, name, limits);
    return *this;
  }
  // Limits of the group of all methods that name none.
  ActorTypeBuilder& default_group(GroupLimits limits) {
    detail::add_group(type_, "", limits);
    return *this;
  }

  template <auto kMethod>
  ActorTypeBuilder& method(const std::string& name, std::string_view group = "") {
    static_assert(
        std::is_base_of_v<typename detail::MethodTraits<decltype(kMethod)>::Class, Actor>);
    detail::MethodEntry& entry = detail::add_method(type_, name, group);
    entry.signature = typeid(decltype(kMethod)).name();
    entry.receive = [](const detail::MethodEntry& method, detail::IncomingCall call) {
      return new detail::RemoteCall<Actor, kMethod>(method, std::move(call));
    };
    detail::method_entry<Actor, kMethod> = &entry;
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
