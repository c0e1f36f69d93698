#include "runtime/actor/node_core.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/actor/actor_ref.h"
#include "runtime/actor/actor_system.h"
#include "runtime/actor/control_call.h"
#include "runtime/actor/directory.h"
#include "runtime/actor/node_agent.h"
#include "runtime/actor/object_protocol.h"
#include "runtime/core/log.h"

namespace desta::runtime::detail {
namespace {

// Dead actors whose cause of death is still told.
constexpr std::size_t kMostDead = 1000;

RemoteError shutting_down() { return unreachable("the actor system is shutting down"); }

// The finished bytes of a message, each object's id once. Throws InternalError when it refers to more
// objects than a header can say.
void close(WireWriter& writer, Message& message) {
  std::string& body = writer.bytes();
  std::vector<ObjectId>& ids = writer.objects();
  if (!ids.empty()) {
    std::ranges::sort(ids);
    ids.erase(std::ranges::unique(ids).begin(), ids.end());
    const auto count = static_cast<std::uint16_t>(ids.size());
    if (ids.size() != count) {
      throw InternalError("a message cannot refer to {} objects: put() what refers to them",
                          ids.size());
    }
    std::memcpy(body.data() + kObjectsAt, &count, sizeof(count));
    body.append(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(ObjectId));
  }
  message.body = std::move(body);
  message.buffers = std::move(writer.buffers());
}

// The ids that a message ends with. Throws TransportError when they are not there.
std::vector<ObjectId> objects_of(const Header& header, const Message& message) {
  std::vector<ObjectId> ids(header.objects);
  const std::size_t bytes = ids.size() * sizeof(ObjectId);
  WireReader(message.body).check(bytes);
  if (bytes > 0) {
    std::memcpy(ids.data(), message.body.data() + message.body.size() - bytes, bytes);
  }
  return ids;
}

}  // namespace

RemoteError unreachable(const std::string& message) {
  return {ErrorKind::kTransport, "", message, "", ""};
}

RemoteError named(RemoteError error, const FutureBase& future) {
  error.actor = future.actor_name();
  error.method = future.method_name();
  return error;
}

WireReader IncomingCall::arguments() const {
  return WireReader(std::string_view(message.body).substr(arguments_at), message.buffers,
                    core->system());
}

void IncomingCall::begin_reply(WireWriter& writer) const {
  Header answer;
  answer.type = MessageType::kReply;
  answer.status = static_cast<std::uint8_t>(ReplyStatus::kOk);
  answer.request = header.request;
  writer(answer);
}

void IncomingCall::reply(WireWriter& writer) const {
  Message answer{core->node(), message.from, {}, {}};
  close(writer, answer);
  try {
    core->send(std::move(answer));
  } catch (const Error& error) {
    if (!core->stopping()) {
      log().warn("an answer to node {} was lost: {}", message.from, error.what());
    }
  }
}

void IncomingCall::refuse(ReplyStatus status, const RemoteError& error) const {
  Header answer;
  answer.type = MessageType::kReply;
  answer.status = static_cast<std::uint8_t>(status);
  answer.request = header.request;
  WireWriter writer;
  writer(answer, error);
  reply(writer);
}

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

void NodeCore::begin_call(WireWriter& call, FutureBase& future, const MethodEntry& method) {
  future.request_number = next_request_++;
  Header header;
  header.type = MessageType::kCall;
  header.method = method.number;
  header.request = future.request_number;
  header.actor = future.handle()->address.id;
  header.caller = caller().actor;
  call(header);
}

void NodeCore::send_call(FutureBase& future, WireWriter& call, int retries) {
  ActorHandle& handle = *future.handle();
  if (stopping_ && !is_system(handle.address.id)) {
    future.fail(ReplyStatus::kUnreachable, named(shutting_down(), future));
    return;
  }
  Message message{node_, handle.node, {}, {}};
  close(call, message);
  std::vector<ObjectHold> objects;
  for (const ObjectId id : call.objects()) {
    objects.push_back(objects_->hold(id));
  }
  const std::uint64_t request = future.request_number;
  std::optional<RemoteError> dead;
  bool parked = false;
  {
    const std::lock_guard lock(handle.mutex);
    message.to = handle.node;
    parked = handle.way == ActorHandle::Way::kParked;
    if (handle.way == ActorHandle::Way::kDead) {
      dead = handle.death;
    } else {
      Pending pending{&future, message.to, retries, std::nullopt, std::move(objects)};
      if (retries > 0 || parked) {
        pending.message = message;
      }
      {
        const std::lock_guard pending_lock(pending_mutex_);
        pending_.emplace(request, std::move(pending));
      }
      if (parked) {
        handle.parked.push_back(request);
      }
    }
  }
  if (dead.has_value()) {
    future.fail(ReplyStatus::kActorDied, named(*dead, future));
    return;
  }
  if (!parked) {
    send_pending(request, std::move(message));
  }
  // What is said at the end is said to nodes that may have ended: nobody waits for an answer.
  if (stopping_) {
    settle_pending(request, ReplyStatus::kUnreachable, shutting_down());
  }
}

void NodeCore::send_pending(std::uint64_t request, Message message) {
  const int node = message.to;
  try {
    send(std::move(message));
  } catch (const Error& error) {
    {
      const std::lock_guard lock(pending_mutex_);
      const auto found = pending_.find(request);
      if (found == pending_.end() || found->second.node != node) {
        return;
      }
    }
    settle_pending(request, ReplyStatus::kUnreachable, unreachable(error.what()));
  }
}

void NodeCore::settle_pending(std::uint64_t request, ReplyStatus status, RemoteError error) {
  const auto settled = take_pending(request);
  if (!settled.has_value()) {
    return;
  }
  const auto& future = settled->future;
  future->fail(status, named(std::move(error), *future));
}

std::optional<NodeCore::Pending> NodeCore::take_pending(std::uint64_t request) {
  const std::lock_guard lock(pending_mutex_);
  const auto found = pending_.find(request);
  if (found == pending_.end()) {
    return std::nullopt;
  }
  std::optional<Pending> taken(std::move(found->second));
  pending_.erase(found);
  return taken;
}

void NodeCore::cancel(FutureBase& future) {
  const std::uint64_t request = future.request_number;
  (void)take_pending(request);
  Header header;
  header.type = MessageType::kCancel;
  header.request = request;
  header.actor = future.handle()->address.id;
  Message message{node_, future.handle()->node, pack(header), {}};
  try {
    send(std::move(message));
  } catch (const Error&) {
    // Its node is gone, and the call with it.
  }
}

void NodeCore::send(Message message) {
  if (message.to == node_) {
    dispatch(std::move(message));
    return;
  }
  std::uint16_t objects = 0;
  std::memcpy(&objects, message.body.data() + kObjectsAt, sizeof(objects));
  if (objects == 0) {
    transport_.send(std::move(message));
    return;
  }
  Header header;
  WireReader reader(message.body);
  reader(header);
  const MessageKey key{message.to, header.request, header.type == MessageType::kReply};
  objects_->sent(key, objects_of(header, message));
  try {
    transport_.send(std::move(message));
  } catch (...) {
    objects_->received(key);
    throw;
  }
}

void NodeCore::dispatch(Message message) {
  try {
    Header header;
    WireReader reader(message.body);
    reader(header);
    const std::size_t rest_at = message.body.size() - reader.rest().size();
    std::vector<ObjectHold> objects;  // let go of when the value has been read, or the call has run
    if (header.objects > 0) {
      reader.check(header.objects * sizeof(ObjectId));
      objects = objects_->receive(message.from, header.request,
                                  header.type == MessageType::kReply, objects_of(header, message));
      message.body.resize(message.body.size() - header.objects * sizeof(ObjectId));
    }
    switch (header.type) {
      case MessageType::kCall:
        receive_call({this, std::move(message), header, rest_at, std::move(objects)});
        return;
      case MessageType::kReply:
        receive_reply(header, message, rest_at);
        return;
      case MessageType::kCancel:
        if (const auto cell = find(header.actor); cell != nullptr) {
          cell->cancel(message.from, header.request);
        }
        return;
    }
    throw TransportError("a message of unknown type {}; do all nodes run one build?",
                         static_cast<int>(header.type));
  } catch (const std::exception& error) {
    log().error("node {}: a message from node {} was thrown away: {}", node_, message.from,
                error.what());
  }
}

void NodeCore::receive_call(IncomingCall incoming) {
  const Header& header = incoming.header;
  const auto cell = find(header.actor);
  if (cell == nullptr) {
    incoming.refuse(ReplyStatus::kActorDied,
                    {ErrorKind::kInternal, "",
                     fmt::format("there is no such actor on node {}: it has ended", node_), "", ""});
    return;
  }
  const MethodEntry* method = nullptr;
  if (header.method <= kTerminateMethod) {
    method = &control_method(header.method);
  } else {
    const auto found = cell->type().methods.find(header.method);
    if (found == cell->type().methods.end()) {
      incoming.refuse(ReplyStatus::kFailed,
                      {ErrorKind::kInternal, "",
                       fmt::format("actor type '{}' has no such method on node {}: do all nodes run "
                                   "one build?",
                                   cell->type().name, node_),
                       cell->name(), ""});
      return;
    }
    method = found->second.get();
  }
  cell->enqueue(*method->receive(*method, std::move(incoming)));
}

void NodeCore::receive_reply(const Header& header, const Message& message, std::size_t result_at) {
  const auto settled = take_pending(header.request);
  if (!settled.has_value()) {
    return;  // cancelled, or failed meanwhile
  }
  const auto& future = settled->future;
  WireReader reader(std::string_view(message.body).substr(result_at), message.buffers, &system_);
  const auto status = static_cast<ReplyStatus>(header.status);
  if (status == ReplyStatus::kOk) {
    future->fulfil(reader);
    return;
  }
  RemoteError error;
  unpack_into(reader, error);
  future->fail(status, error.actor.empty() ? named(std::move(error), *future) : std::move(error));
}

std::optional<Future<void>> NodeCore::cell_ended(ActorCell& cell) {
  const SpawnRequest& request = cell.request();
  RemoteError cause = cell.death();
  cause.actor = cell.name();
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
    if (request.owner.node == node_) {
      child_ended(request.owner.actor, cell.id(), cause, escalate);
    } else if (request.owner.actor != 0 || escalate) {
      (void)agent_ref(*this, request.owner.node)
          .call<&NodeAgent::child_ended>(request.owner.actor, cell.id(), cause, escalate);
    }
  }
  if (!is_tracked(request)) {
    return std::nullopt;
  }
  return directory_ref(*this).call<&Directory::actor_ended>(cell.id(), cause);
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
  const RemoteError cause{ErrorKind::kInternal, "",
                          fmt::format("its owner {} has ended", cell.name()), "", ""};
  for (const Child& child : cell.take_children()) {
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

void NodeCore::fail_all(const RemoteError& error) {
  std::unordered_map<std::uint64_t, Pending> pending;
  {
    const std::lock_guard lock(pending_mutex_);
    pending.swap(pending_);
  }
  for (auto& [request, entry] : pending) {
    entry.future->fail(ReplyStatus::kUnreachable, named(error, *entry.future));
  }
}

bool NodeCore::stop_actors(Scheduler::Clock::time_point deadline) {
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
