// What actor systems say to each other. Private to this folder, but for the errors' types.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/core/error.h"

namespace desta::runtime {

enum class ActorState : std::uint8_t { kStarting, kIdle, kBusy, kRestarting, kDead };

// One line of ActorSystem::describe().
struct ActorInfo {
  std::string name;
  std::string type;
  int node = 0;
  ActorState state = ActorState::kStarting;
  std::uint64_t calls = 0;     // finished, failed ones too
  std::uint64_t failures = 0;  // calls that threw
  std::uint64_t restarts = 0;
  std::uint64_t pending = 0;  // waiting or running now
  std::string death_cause;    // empty unless dead

  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, type, node, state, calls, failures, restarts, pending, death_cause);
  }
};

// Why a call failed and where: the same on the node that asks as on the node where it happened.
struct RemoteError {
  ErrorKind kind = ErrorKind::kInternal;
  std::string message;  // what the actor's code threw
  std::string actor;
  std::string method;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, message, actor, method);
  }
};

namespace detail {

enum class MessageType : std::uint8_t {
  kSpawn,         // to node 0: reserve a name and have the actor made
  kCreate,        // from node 0 to the actor's node
  kCall,          // to the actor's node
  kLookup,        // to node 0: the address behind a name
  kDescribe,      // to any node
  kReply,         // to whoever asked
  kShutdown,      // from node 0
  kShutdownDone,  // to node 0
};

enum class ReplyStatus : std::uint8_t { kOk, kFailed, kPendingLimit, kActorDied };

struct Envelope {
  MessageType type = MessageType::kReply;
  std::uint64_t request = 0;  // the asker's number for the question; its answer repeats it
  std::string body;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(type, request, body);
  }
};

struct ActorAddress {
  int node = -1;
  std::uint64_t id = 0;
  std::string name;
  std::string type;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(node, id, name, type);
  }
};

struct SpawnRequest {
  ActorAddress address;
  std::string signature;  // of the constructor
  std::string arguments;
  int max_restarts = 0;
  int max_pending_calls = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(address, signature, arguments, max_restarts, max_pending_calls);
  }
};

struct CallRequest {
  std::uint64_t actor = 0;
  std::string method;
  std::string arguments;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(actor, method, arguments);
  }
};

struct Reply {
  ReplyStatus status = ReplyStatus::kOk;
  std::string result;
  RemoteError error;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(status, result, error);
  }
};

}  // namespace detail
}  // namespace desta::runtime
