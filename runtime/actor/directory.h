// The system's own actor on node 0 that knows who is where: nodes and what they have, names, placement
// groups, and the actors that must survive their node. Private to this folder.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/actor/actor_ref.h"
#include "runtime/actor/node_agent.h"
#include "runtime/actor/placement.h"
#include "runtime/actor/resources.h"

namespace desta::runtime::detail {

// How a newcomer learns what happened before it came.
struct Welcome {
  std::map<ActorId, int> moved;
  std::vector<int> lost;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(moved, lost);
  }
};

struct GroupInfo {
  std::uint64_t id = 0;
  std::vector<int> nodes;  // of each bundle

  template <class Archive>
  void serialize(Archive& archive) {
    archive(id, nodes);
  }
};

// What has become of an actor.
struct Whereabouts {
  int node = -1;  // -1: it is on its way
  bool gone = false;
  RemoteError cause;  // of its end

  template <class Archive>
  void serialize(Archive& archive) {
    archive(node, gone, cause);
  }
};

class Directory {
 public:
  explicit Directory(NodeCore& core) : core_(core) {}

  // Reserves the name and the resources, chooses the node and has the actor made there. Throws
  // InternalError (name taken, no such node), InsufficientResources, or what making it threw.
  Task<ActorAddress> spawn(SpawnRequest request);
  // Throws InternalError when there is no such node, or it is lost.
  void check_node(int node) const;
  // Throws InternalError when there is none of this name.
  [[nodiscard]] ActorAddress look_up(const std::string& name);
  void actor_ended(ActorId actor, const RemoteError& cause);
  // Ends an actor wherever it is, on its way to another node too.
  void end_actor(ActorId actor, const RemoteError& cause);
  [[nodiscard]] Whereabouts locate(ActorId actor);

  Welcome register_node(const NodeInfo& info);
  void heartbeat(int node);
  void node_lost(int node, const std::string& why);
  [[nodiscard]] std::vector<NodeInfo> nodes();
  // Who has an object of `owner` in memory that `node` can map: the owner, where they share a host, or
  // else the first living node of the host of `node`.
  Task<int> object_keeper(int node, int owner);

  // All or nothing. Throws InsufficientResources.
  Task<GroupInfo> reserve_group(std::vector<Resources> bundles, PlacementStrategy strategy);
  void release_group(std::uint64_t group);

  // For the back-off of restarts.
  Task<void> restart(ActorId actor);

 private:
  struct Node {
    NodeInfo info;
    ResourceLedger ledger;
    Scheduler::Clock::time_point last_heartbeat;
  };
  struct Bundle {
    int node = 0;
    ResourceLedger ledger;
  };
  struct Group {
    std::vector<Bundle> bundles;
  };
  struct Tracked {
    SpawnRequest request;  // as it was last sent to a node
    bool exists = false;   // its node has it
    bool placed = false;   // its resources are taken
    bool moving = false;
  };

  [[nodiscard]] bool all_ranks_are_known() const;
  [[nodiscard]] Task<void> all_ranks_are_here();
  [[nodiscard]] std::vector<PlacementNode> candidates() const;
  // Chooses address.node and takes the resources.
  void place(SpawnRequest& request);
  void give_back(Tracked& tracked);
  void forget(ActorId actor);
  void broadcast_lost(ActorId actor, const RemoteError& cause);
  template <typename Call>
  void for_all_alive(Call call);

  NodeCore& core_;
  std::map<int, Node> nodes_;
  std::vector<boost::intrusive_ptr<FutureState<void>>> waiting_for_ranks_;
  std::map<std::string, ActorId> names_;
  std::unordered_map<ActorId, Tracked> tracked_;
  std::map<ActorId, int> moved_;
  std::map<std::uint64_t, Group> groups_;
  std::uint64_t next_group_ = 1;
};

[[nodiscard]] ActorRef<Directory> directory_ref(NodeCore& core);
// The directory knows of this actor: it has a name, or resources, or may be restarted elsewhere.
[[nodiscard]] bool is_tracked(const SpawnRequest& request);
void register_directory();
void start_directory(NodeCore& core);

}  // namespace desta::runtime::detail
