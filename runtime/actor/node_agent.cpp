#include "runtime/actor/node_agent.h"

#include <limits>

#include "runtime/actor/actor_system.h"

namespace desta::runtime::detail {

void NodeAgent::create(const SpawnRequest& request) { (void)core_.create(request); }

void NodeAgent::deliver_early(ActorId actor) { core_.deliver_early(actor); }

void NodeAgent::end(ActorId actor, const RemoteError& cause) {
  if (const auto cell = core_.find(actor); cell != nullptr) {
    cell->end(cause);
  }
}

void NodeAgent::child_ended(ActorId owner, ActorId child, const RemoteError& cause, bool escalate) {
  core_.child_ended(owner, child, cause, escalate);
}

void NodeAgent::node_lost(int node, const std::string& why) { core_.node_lost(node, why); }

void NodeAgent::actor_moved(ActorId actor, int node) { core_.actor_moved(actor, node); }

void NodeAgent::actor_lost(ActorId actor, const RemoteError& cause) {
  core_.actor_lost(actor, cause);
}

std::vector<ActorInfo> NodeAgent::describe() { return core_.describe(); }

std::vector<WaitInfo> NodeAgent::waits() {
  std::vector<WaitInfo> all;
  const auto add = [&](ActorId actor, const std::string& name, const ActorCell::Wait& wait) {
    all.push_back({actor, name, core_.node(), wait.method, wait.seconds, wait.for_actor,
                   wait.for_node, wait.for_name, wait.for_method});
  };
  for (const auto& cell : core_.cells()) {
    for (const auto& wait : cell->waits()) {
      add(cell->id(), cell->name(), wait);
    }
  }
  for (const auto& wait : core_.program_waits()) {
    add(0, fmt::format("the program of node {}", core_.node()), wait);
  }
  return all;
}

void NodeAgent::shut_down() { core_.system()->note_shut_down(); }

void NodeAgent::shut_down_done(int node) { core_.system()->note_shut_down_done(node); }

ActorRef<NodeAgent> agent_ref(NodeCore& core, int node) {
  return ActorRef<NodeAgent>(core.handle({node, agent_of(node), fmt::format("(node {})", node),
                                          "desta.node", std::numeric_limits<int>::max(), 0,
                                          false}));
}

void register_node_agent() {
  actor_type<NodeAgent>("desta.node")
      .default_group({.threads = 1, .calls = std::numeric_limits<int>::max()})
      .method<&NodeAgent::create>("create")
      .method<&NodeAgent::deliver_early>("deliver_early")
      .method<&NodeAgent::end>("end")
      .method<&NodeAgent::child_ended>("child_ended")
      .method<&NodeAgent::node_lost>("node_lost")
      .method<&NodeAgent::actor_moved>("actor_moved")
      .method<&NodeAgent::actor_lost>("actor_lost")
      .method<&NodeAgent::describe>("describe")
      .method<&NodeAgent::waits>("waits")
      .method<&NodeAgent::hold_object>("hold_object")
      .method<&NodeAgent::release_object>("release_object")
      .method<&NodeAgent::objects_received>("objects_received")
      .method<&NodeAgent::drop_object>("drop_object")
      .method<&NodeAgent::fetch_object>("fetch_object")
      .method<&NodeAgent::locate_object>("locate_object")
      .method<&NodeAgent::keep_object>("keep_object")
      .method<&NodeAgent::bring_object>("bring_object")
      .method<&NodeAgent::shut_down>("shut_down")
      .method<&NodeAgent::shut_down_done>("shut_down_done");
}

void start_node_agent(NodeCore& core) {
  SpawnRequest request;
  request.address = agent_ref(core, core.node()).handle()->address;
  request.runs_in_place = true;
  (void)core.create(std::move(request), std::make_shared<NodeAgent>(core));
}

}  // namespace desta::runtime::detail
