#include "runtime/actor/errors.h"

#include <boost/core/demangle.hpp>
#include <map>
#include <mutex>
#include <utility>

namespace desta::runtime::detail {
namespace {

using Thrower = std::function<void(const std::string&)>;

template <typename E>
void add(std::map<std::string, Thrower>& throwers) {
  throwers[boost::core::demangle(typeid(E).name())] = [](const std::string& message) {
    throw E(message);
  };
}

std::map<std::string, Thrower> known_classes() {
  std::map<std::string, Thrower> throwers;
  add<std::runtime_error>(throwers);
  add<std::logic_error>(throwers);
  add<std::invalid_argument>(throwers);
  add<std::domain_error>(throwers);
  add<std::length_error>(throwers);
  add<std::out_of_range>(throwers);
  add<std::range_error>(throwers);
  add<std::overflow_error>(throwers);
  add<std::underflow_error>(throwers);
  return throwers;
}

struct Throwers {
  std::mutex mutex;
  std::map<std::string, Thrower> by_type = known_classes();
};

Throwers& throwers() {
  static Throwers instance;
  return instance;
}

}  // namespace

void register_error(const std::type_info& type, Thrower thrower) {
  const std::lock_guard lock(throwers().mutex);
  throwers().by_type[boost::core::demangle(type.name())] = std::move(thrower);
}

RemoteError describe_current_exception(const std::string& actor, const std::string& method) {
  try {
    throw;
  } catch (const Error& error) {
    return {error.kind(), boost::core::demangle(typeid(error).name()), error.what(), actor, method};
  } catch (const std::exception& error) {
    return {ErrorKind::kInternal, boost::core::demangle(typeid(error).name()), error.what(), actor,
            method};
  } catch (...) {
    return {ErrorKind::kInternal, "", "something that is no std::exception was thrown", actor,
            method};
  }
}

void throw_remote(ReplyStatus status, const RemoteError& error) {
  const std::string message =
      fmt::format("{} (in actor {}, method {})", error.message, error.actor, error.method);
  switch (status) {
    case ReplyStatus::kPendingLimit:
      throw PendingCallsLimitExceeded(message, error.kind);
    case ReplyStatus::kActorDied:
      throw ActorDied(message, error.kind);
    case ReplyStatus::kUnavailable:
      throw ActorUnavailable(message, error.kind);
    case ReplyStatus::kCancelled:
      throw CallCancelled(message, error.kind);
    case ReplyStatus::kOk:
    case ReplyStatus::kFailed:
    case ReplyStatus::kUnreachable:
      break;
  }
  Thrower thrower;
  {
    const std::lock_guard lock(throwers().mutex);
    const auto found = throwers().by_type.find(error.type);
    if (found != throwers().by_type.end()) {
      thrower = found->second;
    }
  }
  if (thrower) {
    thrower(message);
  }
  throw_error(error.kind, message);
}

}  // namespace desta::runtime::detail
