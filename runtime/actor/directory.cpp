#include "runtime/actor/directory.h"

#include <algorithm>
#include <limits>

#include "runtime/actor/actor_system.h"
#include "runtime/core/log.h"

namespace desta::runtime::detail {
namespace {

std::string describe(const Resources& need) {
  return fmt::format("{} cpu, {} gpu, {} bytes of memory", need.cpu, need.gpu, need.memory);
}

}  // namespace

bool is_tracked(const SpawnRequest& request) {
  const SpawnOptions& options = request.options;
  return !options.name.empty() || options.max_restarts != 0 || options.escalate ||
         options.resources != Resources{} || options.placement_group != 0;
}

bool Directory::all_ranks_are_known() const {
  const auto ranks = std::ranges::count_if(
      nodes_, [](const auto& entry) { return entry.second.info.kind == NodeKind::kRank; });
  return ranks >= core_.transport().node_count();
}

Task<void> Directory::all_ranks_are_here() {
  if (all_ranks_are_known()) {
    co_return;
  }
  boost::intrusive_ptr<FutureState<void>> here(
      new FutureState<void>(core_.scheduler(), nullptr, nullptr));
  waiting_for_ranks_.push_back(here);
  co_await Future<void>(here);
}

std::vector<PlacementNode> Directory::candidates() const {
  std::vector<PlacementNode> alive;
  for (const auto& [number, node] : nodes_) {
    if (node.info.state != NodeState::kDead) {
      alive.push_back({number, node.info.host, node.ledger.free(), node.info.total});
    }
  }
  return alive;
}

void Directory::place(SpawnRequest& request) {
  const SpawnOptions& options = request.options;
  int& node = request.address.node;
  if (options.placement_group != 0) {
    const auto group = groups_.find(options.placement_group);
    if (group == groups_.end()) {
      throw InternalError("there is no placement group {}", options.placement_group);
    }
    auto& bundles = group->second.bundles;
    for (std::size_t index = 0; index < bundles.size(); ++index) {
      if ((options.bundle < 0 || static_cast<std::size_t>(options.bundle) == index) &&
          nodes_.at(bundles[index].node).info.state != NodeState::kDead &&
          bundles[index].ledger.take(options.resources)) {
        node = bundles[index].node;
        request.options.bundle = static_cast<int>(index);
        return;
      }
    }
    throw InsufficientResources(
        fmt::format("{} of placement group {} has no room for {}",
                    options.bundle < 0 ? "no bundle" : fmt::format("bundle {}", options.bundle),
                    options.placement_group, describe(options.resources)));
  }
  const auto alive = [&](int number) {
    const auto found = nodes_.find(number);
    return found == nodes_.end() || found->second.info.state != NodeState::kDead;
  };
  if (options.node >= 0 && alive(options.node)) {
    node = options.node;
  } else if (const auto chosen = place_one(options.resources, candidates()); chosen.has_value()) {
    node = *chosen;
  } else {
    throw InsufficientResources(
        fmt::format("no node has {} free", describe(options.resources)));
  }
  if (options.resources != Resources{} &&
      !nodes_.at(node).ledger.take(options.resources)) {
    throw InsufficientResources(
        fmt::format("node {} has not {} free", node, describe(options.resources)));
  }
}

void Directory::give_back(Tracked& tracked) {
  if (!std::exchange(tracked.placed, false)) {
    return;
  }
  const SpawnRequest& request = tracked.request;
  const SpawnOptions& options = request.options;
  if (options.placement_group != 0) {
    const auto group = groups_.find(options.placement_group);
    if (group != groups_.end()) {
      group->second.bundles[static_cast<std::size_t>(options.bundle)].ledger.give_back(
          options.resources);
    }
  } else if (const auto node = nodes_.find(request.address.node);
             node != nodes_.end() && options.resources != Resources{}) {
    node->second.ledger.give_back(options.resources);
  }
}

void Directory::forget(ActorId actor) {
  const auto found = tracked_.find(actor);
  if (found == tracked_.end()) {
    return;
  }
  give_back(found->second);
  const auto name = names_.find(found->second.request.address.name);
  if (name != names_.end() && name->second == actor) {
    names_.erase(name);
  }
  tracked_.erase(found);
  moved_.erase(actor);
}

Task<ActorAddress> Directory::spawn(SpawnRequest request) {
  const ActorId id = request.address.id;
  ActorAddress& address = request.address;
  check_node(request.options.node);
  const auto [name, added] = names_.try_emplace(address.name, id);
  if (!added) {
    throw InternalError("the name is taken by an actor on node {}",
                        tracked_.at(name->second).request.address.node);
  }
  tracked_[id].request = request;
  const bool needs_all = request.options.resources != Resources{};
  try {
    if (needs_all) {
      co_await all_ranks_are_here();
    }
    place(request);
  } catch (...) {
    names_.erase(address.name);
    tracked_.erase(id);
    throw;
  }
  tracked_[id].request = request;
  tracked_[id].placed = true;
  std::exception_ptr failure;
  try {
    co_await agent_ref(core_, address.node).call<&NodeAgent::create>(request);
  } catch (...) {
    failure = std::current_exception();
  }
  if (failure) {
    forget(id);
    std::rethrow_exception(failure);
  }
  if (const auto found = tracked_.find(id); found != tracked_.end()) {
    found->second.exists = true;
    if (const auto owner = nodes_.find(request.owner.node);
        request.options.lifetime == Lifetime::kOwned && owner != nodes_.end() &&
        owner->second.info.state == NodeState::kDead) {
      end_actor(id, {ErrorKind::kTransport, "",
                     fmt::format("its owner's node {} was lost meanwhile", request.owner.node), "",
                     ""});
    }
  }
  co_return address;
}

void Directory::check_node(int number) const {
  const auto node = nodes_.find(number);
  if (number >= core_.transport().node_count() && node == nodes_.end()) {
    throw InternalError("there is no node {}: the job has {}", number,
                        core_.transport().node_count());
  }
  if (node != nodes_.end() && node->second.info.state == NodeState::kDead) {
    throw InternalError("node {} is lost: {}", number, node->second.info.death_cause);
  }
}

ActorAddress Directory::look_up(const std::string& name) {
  const auto found = names_.find(name);
  if (found == names_.end() || !tracked_.at(found->second).exists) {
    throw InternalError("there is no actor of this name");
  }
  return tracked_.at(found->second).request.address;
}

void Directory::actor_ended(ActorId actor, const RemoteError& cause) {
  const auto found = tracked_.find(actor);
  if (found != tracked_.end() && found->second.request.restarts > 0) {
    broadcast_lost(actor, cause);  // references may wait to hear where it is
  }
  forget(actor);
}

void Directory::end_actor(ActorId actor, const RemoteError& cause) {
  const auto found = tracked_.find(actor);
  if (found == tracked_.end()) {
    return;
  }
  if (found->second.moving) {
    broadcast_lost(actor, cause);
    forget(actor);
    return;
  }
  (void)agent_ref(core_, found->second.request.address.node)
      .call<&NodeAgent::end>(actor, cause);
}

Whereabouts Directory::locate(ActorId actor) {
  const auto found = tracked_.find(actor);
  if (found == tracked_.end()) {
    return {-1, true, {ErrorKind::kInternal, "", "the actor has ended, and its node is lost", "", ""}};
  }
  const auto moved = moved_.find(actor);
  return {moved == moved_.end() ? -1 : moved->second, false, {}};
}

Welcome Directory::register_node(const NodeInfo& info) {
  Node& node = nodes_[info.node];
  node.info = info;
  node.ledger = ResourceLedger(info.total);
  node.last_heartbeat = core_.scheduler().now();
  if (all_ranks_are_known()) {
    for (const auto& waiting : std::exchange(waiting_for_ranks_, {})) {
      if (waiting->claim()) {
        waiting->set({});
      }
    }
  }
  if (info.kind == NodeKind::kJoined) {
    log().info("node {} on {} has joined", info.node, info.host);
    core_.system()->note_node_joined(info.node);
  }
  Welcome welcome{moved_, {}};
  for (const auto& [number, other] : nodes_) {
    if (other.info.state == NodeState::kDead) {
      welcome.lost.push_back(number);
    }
  }
  return welcome;
}

void Directory::heartbeat(int node) {
  if (const auto found = nodes_.find(node); found != nodes_.end()) {
    found->second.last_heartbeat = core_.scheduler().now();
  }
}

template <typename Call>
void Directory::for_all_alive(Call call) {
  for (const auto& [number, node] : nodes_) {
    if (node.info.state != NodeState::kDead) {
      call(agent_ref(core_, number));
    }
  }
}

void Directory::broadcast_lost(ActorId actor, const RemoteError& cause) {
  for_all_alive(
      [&](const auto& agent) { (void)agent.template call<&NodeAgent::actor_lost>(actor, cause); });
}

void Directory::node_lost(int number, const std::string& why) {
  const auto found = nodes_.find(number);
  if (found == nodes_.end() || found->second.info.state == NodeState::kDead) {
    return;
  }
  found->second.info.state = NodeState::kDead;
  found->second.info.death_cause = why;
  log().warn("node {} on {} was lost: {}", number, found->second.info.host, why);
  for_all_alive(
      [&](const auto& agent) { (void)agent.template call<&NodeAgent::node_lost>(number, why); });
  RemoteError cause{ErrorKind::kTransport, "",
                    fmt::format("the actor died: node {} was lost: {}", number, why), "", ""};
  std::vector<ActorId> there;
  for (const auto& [id, tracked] : tracked_) {
    if (tracked.exists && tracked.request.address.node == number) {
      there.push_back(id);
    }
  }
  std::ranges::sort(there);
  for (const ActorId id : there) {
    Tracked& tracked = tracked_.at(id);
    SpawnRequest& request = tracked.request;
    const int limit = request.options.max_restarts;
    const bool orphan = request.owner.node == number && request.options.lifetime == Lifetime::kOwned;
    if (orphan || limit == 0 ||
        (limit > 0 && request.restarts >= static_cast<std::uint64_t>(limit))) {
      log().error("actor {} died with node {}", request.address.name, number);
      cause.actor = request.address.name;
      broadcast_lost(id, cause);
      if (!orphan && request.options.lifetime == Lifetime::kOwned) {
        (void)agent_ref(core_, request.owner.node)
            .call<&NodeAgent::child_ended>(request.owner.actor, id, cause,
                                           request.options.escalate);
      }
      forget(id);
      continue;
    }
    give_back(tracked);
    tracked.moving = true;
    moved_.erase(id);  // whoever asks is told where it is when it is there
    const auto pause =
        std::min<std::chrono::nanoseconds>(request.options.restart_backoff * (1LL << std::min<std::uint64_t>(request.restarts, 20)),
                 request.options.max_restart_backoff);
    ++request.restarts;
    core_.scheduler().after(pause, [core = &core_, id] {
      (void)directory_ref(*core).call<&Directory::restart>(id);
    });
  }
}

Task<void> Directory::restart(ActorId id) {
  const auto found = tracked_.find(id);
  if (found == tracked_.end() || !found->second.moving) {
    co_return;
  }
  found->second.moving = false;
  RemoteError cause{ErrorKind::kTransport, "", "", "", ""};
  try {
    SpawnRequest request = found->second.request;
    place(request);
    found->second.request = request;
    found->second.placed = true;
    const int node = request.address.node;
    co_await agent_ref(core_, node).call<&NodeAgent::create>(request);
    if (nodes_.at(node).info.state != NodeState::kDead && tracked_.contains(id)) {
      moved_[id] = node;
      log().info("actor {} starts anew on node {}", request.address.name, node);
      for_all_alive(
          [&](const auto& agent) { (void)agent.template call<&NodeAgent::actor_moved>(id, node); });
    }
    co_return;
  } catch (const std::exception& error) {
    cause.message = fmt::format("the actor died: it cannot start anew: {}", error.what());
  }
  const auto again = tracked_.find(id);
  if (again != tracked_.end() && !again->second.moving) {
    log().error("{}: {}", again->second.request.address.name, cause.message);
    broadcast_lost(id, cause);
    forget(id);
  }
}

std::vector<NodeInfo> Directory::nodes() {
  std::vector<NodeInfo> all;
  for (const auto& [number, node] : nodes_) {
    NodeInfo info = node.info;
    info.free = node.ledger.free();
    info.seconds_since_heartbeat =
        std::chrono::duration<double>(core_.scheduler().now() - node.last_heartbeat).count();
    if (number == core_.node()) {
      info.seconds_since_heartbeat = 0;
    } else if (info.state == NodeState::kAlive &&
               info.seconds_since_heartbeat > core_.options().silence.count() / 1000.0) {
      info.state = NodeState::kSilent;
    }
    all.push_back(std::move(info));
  }
  return all;
}

Task<int> Directory::object_keeper(int node, int owner) {
  co_await all_ranks_are_here();
  const auto asker = nodes_.find(node);
  if (asker == nodes_.end()) {
    co_return node;
  }
  const std::string& host = asker->second.info.host;
  const auto is_there = [&](const auto& entry) {
    return entry.second.info.state != NodeState::kDead && entry.second.info.host == host;
  };
  if (const auto found = nodes_.find(owner); found != nodes_.end() && is_there(*found)) {
    co_return owner;
  }
  const auto keeper = std::ranges::find_if(nodes_, is_there);
  co_return keeper == nodes_.end() ? node : keeper->first;
}

Task<GroupInfo> Directory::reserve_group(std::vector<Resources> bundles,
                                         PlacementStrategy strategy) {
  co_await all_ranks_are_here();
  const auto places = place_bundles(bundles, strategy, candidates());
  if (!places.has_value()) {
    throw InsufficientResources(fmt::format(
        "the nodes have no room for a placement group of {} bundles", bundles.size()));
  }
  GroupInfo info{next_group_++, *places};
  Group& group = groups_[info.id];
  for (std::size_t index = 0; index < bundles.size(); ++index) {
    const int node = info.nodes[index];
    if (!nodes_.at(node).ledger.take(bundles[index])) {
      throw InternalError("node {} has not what it was chosen for", node);
    }
    group.bundles.push_back({node, ResourceLedger(bundles[index])});
  }
  co_return info;
}

void Directory::release_group(std::uint64_t id) {
  const auto found = groups_.find(id);
  if (found == groups_.end()) {
    return;
  }
  std::vector<ActorId> inside;
  for (const auto& [actor, tracked] : tracked_) {
    if (tracked.request.options.placement_group == id) {
      inside.push_back(actor);
    }
  }
  const RemoteError cause{ErrorKind::kInternal, "",
                          fmt::format("placement group {} was released", id), "", ""};
  for (const ActorId actor : inside) {
    (void)agent_ref(core_, tracked_.at(actor).request.address.node)
        .call<&NodeAgent::end>(actor, cause);
  }
  for (const Bundle& bundle : found->second.bundles) {
    if (const auto node = nodes_.find(bundle.node); node != nodes_.end()) {
      node->second.ledger.give_back(bundle.ledger.total());
    }
  }
  groups_.erase(found);
}

ActorRef<Directory> directory_ref(NodeCore& core) {
  return ActorRef<Directory>(core.handle({0, kDirectory, "(directory)", "desta.directory",
                                          std::numeric_limits<int>::max(), 0, false}));
}

void register_directory() {
  actor_type<Directory>("desta.directory")
      .default_group({.threads = 1, .calls = std::numeric_limits<int>::max()})
      .method<&Directory::spawn>("spawn")
      .method<&Directory::check_node>("check_node")
      .method<&Directory::look_up>("look_up")
      .method<&Directory::actor_ended>("actor_ended")
      .method<&Directory::end_actor>("end_actor")
      .method<&Directory::locate>("locate")
      .method<&Directory::register_node>("register_node")
      .method<&Directory::heartbeat>("heartbeat")
      .method<&Directory::node_lost>("node_lost")
      .method<&Directory::nodes>("nodes")
      .method<&Directory::object_keeper>("object_keeper")
      .method<&Directory::reserve_group>("reserve_group")
      .method<&Directory::release_group>("release_group")
      .method<&Directory::restart>("restart");
}

void start_directory(NodeCore& core) {
  SpawnRequest request;
  request.address = directory_ref(core).handle()->address;
  request.runs_in_place = true;
  (void)core.create(std::move(request), std::make_shared<Directory>(core));
}

}  // namespace desta::runtime::detail
