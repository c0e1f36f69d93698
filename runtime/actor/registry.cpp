#include "runtime/actor/registry.h"

#include <boost/core/demangle.hpp>

namespace desta::runtime::detail {

ActorRegistry& ActorRegistry::instance() {
  static ActorRegistry registry;
  return registry;
}

ActorType& ActorRegistry::add(const std::string& name, std::type_index class_type) {
  ActorType& type = types_[name];
  if (type.name.empty()) {
    type.name = name;
    type.class_type = class_type;
  } else if (type.class_type != class_type) {
    throw InternalError("two classes are registered as actor type '{}': {} and {}", name,
                        boost::core::demangle(type.class_type.name()),
                        boost::core::demangle(class_type.name()));
  }
  return type;
}

const ActorType& ActorRegistry::find(std::string_view name) const {
  const auto found = types_.find(name);
  if (found == types_.end()) {
    throw InternalError("no actor type '{}' on this node: register it with actor_type<...>() first",
                        name);
  }
  return found->second;
}

const ActorType& ActorRegistry::find(std::type_index class_type) const {
  for (const auto& [name, type] : types_) {
    if (type.class_type == class_type) {
      return type;
    }
  }
  throw InternalError("{} is no actor type: register it with actor_type<...>() first",
                      boost::core::demangle(class_type.name()));
}

const std::string& method_name(const ActorType& type, std::type_index method) {
  const auto found = type.method_names.find(method);
  if (found == type.method_names.end()) {
    throw InternalError("actor type '{}' has no method {}: register it with .method<...>()",
                        type.name, boost::core::demangle(method.name()));
  }
  return found->second;
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
