// An actor system looks at itself.
#include <algorithm>

#include "runtime/actor/actor_system.h"
#include "runtime/actor/ask.h"
#include "runtime/actor/directory.h"
#include "runtime/actor/hang.h"
#include "runtime/actor/node_agent.h"

namespace desta::runtime {

using detail::Directory;
using detail::NodeAgent;

std::vector<NodeInfo> ActorSystem::nodes() {
  return ask(detail::directory_ref(*core_).call<&Directory::nodes>(), "listing the nodes");
}

std::vector<ActorInfo> ActorSystem::describe() {
  std::vector<Future<std::vector<ActorInfo>>> parts;
  std::vector<int> asked;
  for (int rank = 0; rank < node_count(); ++rank) {
    asked.push_back(rank);
  }
  for (const NodeInfo& info : nodes()) {
    if (info.state == NodeState::kDead) {
      std::erase(asked, info.node);
    } else if (info.kind == NodeKind::kJoined) {
      asked.push_back(info.node);
    }
  }
  for (const int other : asked) {
    parts.push_back(detail::agent_ref(*core_, other).call<&NodeAgent::describe>());
  }
  std::vector<ActorInfo> all;
  for (std::size_t index = 0; index < parts.size(); ++index) {
    for (ActorInfo& info :
         ask(parts[index], fmt::format("describing the actors of node {}", asked[index]))) {
      all.push_back(std::move(info));
    }
  }
  return all;
}

SystemSnapshot ActorSystem::snapshot(std::chrono::milliseconds patience) {
  SystemSnapshot snapshot;
  snapshot.time = std::chrono::duration<double>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  snapshot.nodes = nodes();
  std::vector<Future<std::vector<ActorInfo>>> actors;
  std::vector<Future<std::vector<detail::WaitInfo>>> waits;
  std::vector<NodeInfo*> asked;
  for (NodeInfo& info : snapshot.nodes) {
    if (info.state != NodeState::kDead) {
      const auto agent = detail::agent_ref(*core_, info.node);
      actors.push_back(agent.call<&NodeAgent::describe>());
      waits.push_back(agent.call<&NodeAgent::waits>());
      asked.push_back(&info);
    }
  }
  const auto deadline = scheduler_.now() + patience;
  (void)wait(actors, WaitFor::kAll, deadline - scheduler_.now());
  (void)wait(waits, WaitFor::kAll, deadline - scheduler_.now());
  std::vector<detail::WaitInfo> all_waits;
  for (std::size_t index = 0; index < asked.size(); ++index) {
    if (!actors[index].ready() || !waits[index].ready()) {
      asked[index]->state = NodeState::kSilent;
      actors[index].cancel();
      waits[index].cancel();
      continue;
    }
    if (actors[index].error().has_value() || waits[index].error().has_value()) {
      continue;  // lost since
    }
    for (ActorInfo& info : actors[index].get()) {
      snapshot.calls += info.calls;
      snapshot.actors.push_back(std::move(info));
    }
    for (detail::WaitInfo& wait : waits[index].get()) {
      all_waits.push_back(std::move(wait));
    }
  }
  snapshot.hang = detail::find_hang(
      all_waits, snapshot.nodes, std::chrono::duration<double>(options_.hang_after).count());
  const auto now = scheduler_.now();
  const std::lock_guard lock(mutex_);
  snapshot.uptime = std::chrono::duration<double>(now - started_).count();
  const double since = std::chrono::duration<double>(now - last_snapshot_).count();
  if (since > 0 && snapshot.calls > last_calls_) {
    snapshot.calls_per_second = static_cast<double>(snapshot.calls - last_calls_) / since;
  }
  last_calls_ = snapshot.calls;
  last_snapshot_ = now;
  snapshot.gauges = gauges_;
  return snapshot;
}

void ActorSystem::publish(const std::string& gauge, double value) {
  const std::lock_guard lock(mutex_);
  gauges_[gauge] = value;
}

}  // namespace desta::runtime
