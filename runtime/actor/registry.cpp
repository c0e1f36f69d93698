#include "runtime/actor/registry.h"

#include <algorithm>
#include <boost/core/demangle.hpp>
#include <set>

#include "runtime/core/hash.h"

namespace desta::runtime::detail {

ActorRegistry& ActorRegistry::instance() {
  static ActorRegistry registry;
  return registry;
}

ActorType& ActorRegistry::add(const std::string& name, std::type_index class_type) {
  auto& type = types_[name];
  if (type == nullptr) {
    type = std::make_unique<ActorType>();
    type->name = name;
    type->class_type = class_type;
  } else if (type->class_type != class_type) {
    throw InternalError("two classes are registered as actor type '{}': {} and {}", name,
                        boost::core::demangle(type->class_type.name()),
                        boost::core::demangle(class_type.name()));
  }
  return *type;
}

const ActorType& ActorRegistry::find(std::string_view name) const {
  const auto found = types_.find(name);
  if (found == types_.end()) {
    throw InternalError("no actor type '{}' on this node: register it with actor_type<...>() first",
                        name);
  }
  return *found->second;
}

const ActorType& ActorRegistry::find(std::type_index class_type) const {
  for (const auto& [name, type] : types_) {
    if (type->class_type == class_type) {
      return *type;
    }
  }
  throw InternalError("{} is no actor type: register it with actor_type<...>() first",
                      boost::core::demangle(class_type.name()));
}

std::string ActorRegistry::fingerprint() const {
  std::string text;
  for (const auto& [name, type] : types_) {
    std::set<std::string> methods;
    for (const auto& [number, method] : type->methods) {
      methods.insert(method->name + ' ' + method->signature);
    }
    text += fmt::format("{}({}): {}\n", name, type->signature, fmt::join(methods, ", "));
  }
  return to_hex(hash64(text));
}

void throw_not_registered(const std::type_info& actor, const std::type_info& method) {
  throw InternalError("a method {} of {} is not registered: name it with "
                      "actor_type<...>().method<...>()",
                      boost::core::demangle(method.name()), boost::core::demangle(actor.name()));
}

MethodEntry& add_method(ActorType& type, const std::string& name, std::string_view group) {
  const auto found = std::ranges::find(type.groups, group, &GroupEntry::name);
  if (found == type.groups.end()) {
    throw InternalError("actor type '{}' has no concurrency group '{}'", type.name, group);
  }
  const auto number = static_cast<std::uint32_t>(hash64(name));
  auto& entry = type.methods[number];
  if (entry == nullptr) {
    entry = std::make_unique<MethodEntry>();
    entry->name = name;
  } else if (entry->name != name) {
    throw InternalError("methods '{}' and '{}' of actor type '{}' have the same number: rename one",
                        entry->name, name, type.name);
  }
  if (number <= kTerminateMethod) {
    throw InternalError("method '{}' of actor type '{}' has a number that is taken: rename it",
                        name, type.name);
  }
  entry->number = number;
  entry->group = static_cast<std::size_t>(found - type.groups.begin());
  return *entry;
}

void add_group(ActorType& type, const std::string& name, GroupLimits limits) {
  limits.threads = std::max(limits.threads, 1);
  limits.calls = std::max(limits.calls, limits.threads);
  const auto found = std::ranges::find(type.groups, name, &GroupEntry::name);
  if (found == type.groups.end()) {
    type.groups.push_back({name, limits});
  } else {
    found->limits = limits;
  }
}

void check_signature(const ActorType& type, const std::string& signature) {
  if (type.signature != signature) {
    throw InternalError("actor type '{}' is made from {}, not from {}", type.name,
                        type.signature.empty() ? "nothing yet: register its constructor"
                                               : boost::core::demangle(type.signature.c_str()),
                        boost::core::demangle(signature.c_str()));
  }
}

}  // namespace desta::runtime::detail
