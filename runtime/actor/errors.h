// How a call can fail. What the actor's own code throws arrives as the class that was thrown: the
// classes of runtime/core/error.h, the standard ones, and those that a program makes known.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <typeinfo>

#include "runtime/core/error.h"

namespace desta::runtime {

// max_pending_calls of this actor wait for their answers already: the call was not sent.
class PendingCallsLimitExceeded : public Error {
 public:
  using Error::Error;
};

// The actor is gone for good, and the call has not run: its constructor threw, it failed oftener
// than it may restart, it was ended, or its node was lost. Keeps the kind of the error that killed
// it.
class ActorDied : public Error {
 public:
  using Error::Error;
};

// The actor's node was lost while the call was out there: it may have run or not.
class ActorUnavailable : public Error {
 public:
  using Error::Error;
};

// Future::cancel() was called.
class CallCancelled : public Error {
 public:
  using Error::Error;
};

// No node, or no set of nodes, has what an actor or a placement group needs.
class InsufficientResources : public Error {
 public:
  using Error::Error;
};

// A shared object cannot be read any more: the node that put it was lost.
class ObjectLost : public Error {
 public:
  using Error::Error;
};

// put() past ActorSystemOptions::object_memory, or /dev/shm is full.
class ObjectStoreFull : public Error {
 public:
  using Error::Error;
};

// Why a call failed and where: the same on the node that asks as on the node where it happened.
struct RemoteError {
  ErrorKind kind = ErrorKind::kInternal;
  std::string type;     // the class that was thrown: "std::out_of_range"
  std::string message;  // its what()
  std::string actor;
  std::string method;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, type, message, actor, method);
  }
};

// Makes a class of errors known, so that it arrives as itself: E is made from the message. For
// main(), before actors run, in every program of the job.
template <typename E>
void error_type();

namespace detail {

// How a call ended.
enum class ReplyStatus : std::uint8_t {
  kOk,
  kFailed,       // the actor's code threw
  kPendingLimit,
  kActorDied,
  kUnavailable,
  kCancelled,
  kUnreachable,  // no way to the actor: the system shuts down, there is no such node
};

// The error in flight.
[[nodiscard]] RemoteError describe_current_exception(const std::string& actor,
                                                     const std::string& method);
// Throws the class that belongs to the status and the error. The message is followed by
// "(in actor stage/0, method run_step)".
[[noreturn]] void throw_remote(ReplyStatus status, const RemoteError& error);
void register_error(const std::type_info& type, std::function<void(const std::string&)> thrower);

}  // namespace detail

template <typename E>
void error_type() {
  detail::register_error(typeid(E), [](const std::string& message) { throw E(message); });
}

}  // namespace desta::runtime
