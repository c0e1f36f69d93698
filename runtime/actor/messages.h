// What the nodes of an actor system say to each other. Private to this folder.
#pragma once

#include <cstdint>
#include <string>

namespace desta::runtime::detail {

// The node that made it, and a number of its own there.
using ActorId = std::uint64_t;

inline constexpr int kNodeShift = 40;
[[nodiscard]] inline ActorId actor_id(int node, std::uint64_t number) {
  return (static_cast<std::uint64_t>(node) << kNodeShift) | number;
}
[[nodiscard]] inline int node_of(ActorId id) { return static_cast<int>(id >> kNodeShift); }
[[nodiscard]] inline std::uint64_t number_of(ActorId id) {
  return id & ((std::uint64_t{1} << kNodeShift) - 1);
}
// The actors that every system has. Numbers of others start at kFirstActor.
[[nodiscard]] inline ActorId agent_of(int node) { return actor_id(node, 1); }
inline constexpr ActorId kDirectory = 2;  // on node 0
inline constexpr ActorId kFirstActor = 16;

struct ActorAddress {
  int node = -1;  // where it was made
  ActorId id = 0;
  std::string name;
  std::string type;
  int max_pending_calls = 0;
  int max_task_retries = 0;
  bool may_move = false;  // it is restarted elsewhere when its node is lost

  template <class Archive>
  void serialize(Archive& archive) {
    archive(node, id, name, type, max_pending_calls, max_task_retries, may_move);
  }
};

// An actor, or (with id 0) the program on that node.
struct Caller {
  int node = -1;
  ActorId actor = 0;

  bool operator==(const Caller&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(node, actor);
  }
};

// A message is a header and what belongs to it: a call's packed arguments, or a reply's packed
// result or RemoteError; then the ids of the shared objects that these refer to.
enum class MessageType : std::uint8_t { kCall, kReply, kCancel };

struct Header {
  MessageType type = MessageType::kCall;
  std::uint8_t status = 0;    // kReply: a ReplyStatus
  std::uint16_t objects = 0;  // how many ids are at the end
  std::uint32_t method = 0;   // kCall
  std::uint64_t request = 0;  // the asker's number for the question; its answer repeats it
  ActorId actor = 0;          // kCall, kCancel: who is asked
  ActorId caller = 0;         // kCall: who asks, 0 for the program

  template <class Archive>
  void serialize(Archive& archive) {
    archive(type, status, objects, method, request, actor, caller);
  }
};

// Where `objects` lies in a packed header.
inline constexpr std::size_t kObjectsAt = 2;

// Methods that every actor has.
inline constexpr std::uint32_t kReadyMethod = 0;
inline constexpr std::uint32_t kTerminateMethod = 1;

}  // namespace desta::runtime::detail
