// The system's own actor on each node, through which the others have things done there. Private to
// this folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/actor/actor_ref.h"
#include "runtime/actor/object_protocol.h"
#include "runtime/actor/task.h"

namespace desta::runtime::detail {

// What an actor waits for, for the report of a hang.
struct WaitInfo {
  ActorId actor = 0;  // 0: the program of this node
  std::string name;
  int node = 0;
  std::string method;
  double seconds = 0;
  ActorId for_actor = 0;  // 0: it computes
  int for_node = 0;
  std::string for_name;
  std::string for_method;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(actor, name, node, method, seconds, for_actor, for_node, for_name, for_method);
  }
};

class NodeAgent {
 public:
  explicit NodeAgent(NodeCore& core) : core_(core) {}

  void create(const SpawnRequest& request);
  void deliver_early(ActorId actor);
  void end(ActorId actor, const RemoteError& cause);
  void child_ended(ActorId owner, ActorId child, const RemoteError& cause, bool escalate);
  void node_lost(int node, const std::string& why);
  void actor_moved(ActorId actor, int node);
  void actor_lost(ActorId actor, const RemoteError& cause);
  [[nodiscard]] std::vector<ActorInfo> describe();
  [[nodiscard]] std::vector<WaitInfo> waits();
  // Node 0 asks the others to end their actors; they answer at its own agent.
  void shut_down();
  void shut_down_done(int node);

  // Of shared objects (object_protocol.cpp): what their stores tell each other ...
  [[nodiscard]] bool hold_object(ObjectId id, int holder);
  void release_object(ObjectId id, int holder);
  void objects_received(const MessageKey& message);
  void drop_object(ObjectId id);
  // ... and how a value comes to a node. On the owner: the value, or where it lies for other processes
  // of its host.
  [[nodiscard]] FoundObject fetch_object(ObjectId id, int node);
  [[nodiscard]] FoundObject locate_object(ObjectId id);
  // On the node that keeps objects for its host: fetches it, once, and tells where it lies.
  Task<FoundObject> keep_object(ObjectId id, std::uint64_t size);
  // On the node that wants it: returns when it is here. Throws ObjectLost, ObjectStoreFull.
  Task<void> bring_object(ObjectId id, std::uint64_t size);

 private:
  Task<void> bring_from_elsewhere(ObjectId id, std::uint64_t size);

  NodeCore& core_;
  std::map<ObjectId, Future<void>> on_their_way_;
};

[[nodiscard]] ActorRef<NodeAgent> agent_ref(NodeCore& core, int node);
void register_node_agent();
// Makes this node's agent.
void start_node_agent(NodeCore& core);

}  // namespace desta::runtime::detail
