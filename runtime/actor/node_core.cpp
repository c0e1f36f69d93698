#include "runtime/actor/node_core.h"

#include <algorithm>
#include <utility>

#include "runtime/actor/actor_ref.h"
#include "runtime/actor/actor_system.h"
#include "runtime/actor/directory.h"
#include "runtime/actor/node_agent.h"
#include "runtime/actor/object_protocol.h"

namespace desta::runtime::detail {
namespace {

// Dead actors whose cause of death is still told.
constexpr std::size_t kMostDead = 1000;

}  // namespace

NodeCore::NodeCore(ActorSystem& system, Transport& transport, Scheduler& scheduler)
    : system_(system),
      transport_(transport),
      scheduler_(scheduler),
      node_(transport.node()),
      objects_(std::make_shared<ObjectStore>(
          node_, system.options().object_memory,
          [this](const ObjectNotice& notice) { send_notice(*this, notice); })) {}

NodeCore::~NodeCore() { objects_->close(); }

const ActorSystemOptions& NodeCore::options() const { return system_.options(); }

Caller NodeCore::caller() const {
  const Activation& here = current_activation();
  return {node_, here.cell != nullptr && &here.cell->core() == this ? here.cell->id() : 0};
}

std::shared_ptr<ActorHandle> NodeCore::handle(const ActorAddress& address) {
  const std::lock_guard lock(handles_mutex_);
  auto& known = handles_[address.id];
  if (auto handle = known.lock(); handle != nullptr) {
    return handle;
  }
  std::shared_ptr<ActorHandle> handle(new ActorHandle(*this, address),
                                      [table = table_](ActorHandle* last) {
                                        forget_handle(*table, last->address.id);
                                        delete last;
                                      });
  if (const auto moved = moved_.find(address.id); moved != moved_.end()) {
    handle->node = moved->second;
  } else if (lost_nodes_.contains(address.node) && address.may_move) {
    handle->way = ActorHandle::Way::kParked;
    scheduler_.after({}, [this, id = address.id] { locate(id); });
  } else if (lost_nodes_.contains(address.node)) {
    handle->way = ActorHandle::Way::kDead;
    handle->death = {ErrorKind::kTransport, "",
                     fmt::format("the actor died: node {} was lost", address.node), address.name,
                     ""};
  }
  if (handle->node == node_) {
    handle->cell = find(address.id);
    handle->local = handle->cell.get();
  }
  known = handle;
  return handle;
}

void NodeCore::forget_handle(HandleTable& table, ActorId id) {
  const std::lock_guard lock(table.mutex);
  const auto found = table.handles.find(id);
  if (found != table.handles.end() && found->second.expired()) {
    table.handles.erase(found);
  }
}

std::shared_ptr<ActorCell> NodeCore::create(SpawnRequest request, std::shared_ptr<void> object) {
  const ActorType& type = ActorRegistry::instance().find(request.address.type);
  if (object == nullptr) {
    check_signature(type, request.signature);
  }
  const ActorId id = request.address.id;
  auto cell = std::make_shared<ActorCell>(*this, std::move(request), type);
  if (cell->request().options.own_thread) {
    cell->give_thread(scheduler_.make_thread(cell->name()));
  }
  {
    const std::lock_guard lock(cells_mutex_);
    if (stopping_ && !is_system(id)) {
      throw TransportError("the actor system is shutting down");
    }
    cells_[id] = cell;
  }
  cell->start(std::move(object));
  return cell;
}

std::shared_ptr<ActorCell> NodeCore::find(ActorId id) {
  const std::lock_guard lock(cells_mutex_);
  const auto found = cells_.find(id);
  return found == cells_.end() ? nullptr : found->second;
}

std::optional<Future<void>> NodeCore::cell_ended(ActorCell& cell) {
  const SpawnRequest& request = cell.request();
  const auto cause = [&cell] {
    RemoteError error = cell.death();
    error.actor = cell.name();
    return error;
  };
  const bool escalate = request.options.escalate && cell.has_failed();
  std::shared_ptr<ActorCell> oldest;
  {
    const std::lock_guard lock(cells_mutex_);
    const auto found = cells_.find(cell.id());
    if (found != cells_.end()) {
      dead_.push_back(found->second);
    }
    if (dead_.size() > kMostDead) {
      oldest = std::move(dead_.front());
      dead_.pop_front();
      cells_.erase(oldest->id());
    }
  }
  if (stopping_ || is_system(cell.id())) {
    return std::nullopt;
  }
  if (request.options.lifetime == Lifetime::kOwned) {
    const bool concerns_owner = request.owner.actor != 0 || escalate;
    if (concerns_owner && request.owner.node == node_) {
      child_ended(request.owner.actor, cell.id(), cause(), escalate);
    } else if (concerns_owner) {
      (void)agent_ref(*this, request.owner.node)
          .call<&NodeAgent::child_ended>(request.owner.actor, cell.id(), cause(), escalate);
    }
  }
  if (!is_tracked(request)) {
    return std::nullopt;
  }
  return directory_ref(*this).call<&Directory::actor_ended>(cell.id(), cause());
}

void NodeCore::child_ended(ActorId owner, ActorId child, const RemoteError& cause, bool escalate) {
  if (owner == 0) {
    if (escalate) {
      system_.escalate(cause);
    }
    return;
  }
  const auto cell = find(owner);
  if (cell == nullptr) {
    return;
  }
  cell->remove_child(child);
  if (escalate) {
    cell->fail_with({cause.kind, "", fmt::format("its actor {} died: {}", cause.actor, cause.message),
                     cell->name(), "child"});
  }
}

void NodeCore::end_children(ActorCell& cell) {
  if (stopping_) {
    return;
  }
  const std::vector<Child> children = cell.take_children();
  if (children.empty()) {
    return;
  }
  const RemoteError cause{ErrorKind::kInternal, "",
                          fmt::format("its owner {} has ended", cell.name()), "", ""};
  for (const Child& child : children) {
    end_actor(child.id, child.node, child.may_move, cause);
  }
}

void NodeCore::end_actor(ActorId actor, int node, bool may_move, const RemoteError& cause) {
  if (may_move) {  // it may be between two nodes
    (void)directory_ref(*this).call<&Directory::end_actor>(actor, cause);
  } else {
    (void)agent_ref(*this, node).call<&NodeAgent::end>(actor, cause);
  }
}

std::vector<std::shared_ptr<ActorCell>> NodeCore::cells() const {
  std::vector<std::shared_ptr<ActorCell>> all;
  const std::lock_guard lock(cells_mutex_);
  all.reserve(cells_.size());
  for (const auto& [id, cell] : cells_) {
    if (!is_system(id)) {
      all.push_back(cell);
    }
  }
  return all;
}

std::vector<ActorInfo> NodeCore::describe() const {
  auto all = cells();
  std::ranges::sort(all, {}, [](const auto& cell) { return cell->id(); });
  std::vector<ActorInfo> infos;
  infos.reserve(all.size());
  for (const auto& cell : all) {
    infos.push_back(cell->describe());
  }
  return infos;
}

void NodeCore::add_program_wait(const FutureBase* future) {
  const std::lock_guard lock(waits_mutex_);
  program_waits_.emplace(future, scheduler_.now());
}

void NodeCore::remove_program_wait(const FutureBase* future) {
  const std::lock_guard lock(waits_mutex_);
  program_waits_.erase(future);
}

std::vector<ActorCell::Wait> NodeCore::program_waits() const {
  const std::lock_guard lock(waits_mutex_);
  std::vector<ActorCell::Wait> waits;
  for (const auto& [future, since] : program_waits_) {
    waits.push_back({"", std::chrono::duration<double>(scheduler_.now() - since).count(),
                     future->handle()->address.id, future->handle()->node, future->actor_name(), future->method_name()});
  }
  return waits;
}

bool NodeCore::stop_actors(Scheduler::Clock::time_point deadline, bool leaves) {
  leaving_ = leaving_ || leaves;
  {
    const std::lock_guard lock(cells_mutex_);
    stopping_ = true;
  }
  fail_all(shutting_down());
  for (const auto& cell : cells()) {
    cell->end(shutting_down(), ReplyStatus::kUnreachable);
  }
  return scheduler_.wait_until([this] { return still_running().empty(); }, deadline);
}

std::vector<std::string> NodeCore::still_running() const {
  std::vector<std::string> running;
  for (const auto& cell : cells()) {
    if (!cell->at_rest()) {
      const ActorInfo info = cell->describe();
      running.push_back(fmt::format("actor {}, method {}, for {:.1f} s", info.name,
                                    info.running.empty() ? "its constructor or destructor" : info.running,
                                    info.running_seconds));
    }
  }
  return running;
}

}  // namespace desta::runtime::detail
