// The calls of a node: those that it makes and those that come, as messages.
#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/actor/actor_system.h"
#include "runtime/actor/control_call.h"
#include "runtime/actor/node_agent.h"
#include "runtime/actor/node_core.h"
#include "runtime/core/log.h"

namespace desta::runtime::detail {
namespace {

// The finished bytes of a message, each object's id once. Throws InternalError when it refers to
// more objects than a header can say.
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

void log_thrown_away(int node, int from, const std::exception& error) {
  log().error("node {}: a message from node {} was thrown away: {}", node, from, error.what());
}

void refuse_unknown(const IncomingCall& call) {
  call.refuse(ReplyStatus::kActorDied,
              {ErrorKind::kInternal, "",
               fmt::format("there is no such actor on node {}: it has ended", call.core->node()), "",
               ""});
}

}  // namespace

RemoteError unreachable(const std::string& message) {
  return {ErrorKind::kTransport, "", message, "", ""};
}

RemoteError shutting_down() { return unreachable("the actor system is shutting down"); }

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
  core->send(std::move(answer));
}

void IncomingCall::reply_or_log(WireWriter& writer) const {
  try {
    reply(writer);
  } catch (const Error& error) {
    if (!core->stopping()) {
      log().warn("an answer to node {} was lost: {}", message.from, error.what());
    }
  }
}

void IncomingCall::refuse(ReplyStatus status, const RemoteError& error) const {
  if (core->leaving()) {
    return;
  }
  Header answer;
  answer.type = MessageType::kReply;
  answer.status = static_cast<std::uint8_t>(status);
  answer.request = header.request;
  WireWriter writer;
  writer(answer, error);
  reply_or_log(writer);
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
      objects = objects_->receive(message.from, header.request, header.type == MessageType::kReply,
                                  objects_of(header, message));
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
        if (!forget_early(message.from, header)) {
          if (const auto cell = find(header.actor); cell != nullptr) {
            cell->cancel(message.from, header.request);
          }
        }
        return;
    }
    throw TransportError("a message of unknown type {}; do all nodes run one build?",
                         static_cast<int>(header.type));
  } catch (const std::exception& error) {
    log_thrown_away(node_, message.from, error);
  }
}

void NodeCore::receive_call(IncomingCall incoming) {
  const ActorId actor = incoming.header.actor;
  std::shared_ptr<ActorCell> cell;
  {
    const std::lock_guard lock(cells_mutex_);
    const auto waiting = early_.empty() ? early_.end() : early_.find(actor);
    if (waiting != early_.end()) {
      waiting->second.push_back(std::move(incoming));
      return;
    }
    const auto found = cells_.find(actor);
    if (found != cells_.end()) {
      cell = found->second;
    } else if (!is_system(actor)) {
      early_[actor].push_back(std::move(incoming));
    }
  }
  if (cell != nullptr) {
    deliver(*cell, std::move(incoming));
  } else if (is_system(actor)) {
    refuse_unknown(incoming);
  } else {
    (void)agent_ref(*this, node_).call<&NodeAgent::deliver_early>(actor);
  }
}

void NodeCore::deliver_early(ActorId actor) {
  for (;;) {
    std::deque<IncomingCall> calls;
    std::shared_ptr<ActorCell> cell;
    {
      const std::lock_guard lock(cells_mutex_);
      const auto waiting = early_.find(actor);
      if (waiting->second.empty()) {
        early_.erase(waiting);
        return;
      }
      calls.swap(waiting->second);  // the entry stays: what comes meanwhile is delivered behind these
      const auto found = cells_.find(actor);
      cell = found == cells_.end() ? nullptr : found->second;
    }
    for (auto& call : calls) {
      const int from = call.message.from;
      try {
        if (cell != nullptr) {
          deliver(*cell, std::move(call));
        } else {
          refuse_unknown(call);
        }
      } catch (const std::exception& error) {
        log_thrown_away(node_, from, error);
      }
    }
  }
}

bool NodeCore::forget_early(int caller, const Header& header) {
  std::optional<IncomingCall> forgotten;  // let go of without the mutex
  const std::lock_guard lock(cells_mutex_);
  const auto waiting = early_.find(header.actor);
  if (waiting == early_.end()) {
    return false;
  }
  const auto call = std::ranges::find_if(waiting->second, [&](const IncomingCall& early) {
    return early.message.from == caller && early.header.request == header.request;
  });
  if (call == waiting->second.end()) {
    return false;
  }
  forgotten = std::move(*call);
  waiting->second.erase(call);
  return true;
}

void NodeCore::deliver(ActorCell& cell, IncomingCall incoming) {
  const Header& header = incoming.header;
  const MethodEntry* method = nullptr;
  if (header.method <= kTerminateMethod) {
    method = &control_method(header.method);
  } else {
    const auto found = cell.type().methods.find(header.method);
    if (found == cell.type().methods.end()) {
      incoming.refuse(
          ReplyStatus::kFailed,
          {ErrorKind::kInternal, "",
           fmt::format("actor type '{}' has no such method on node {}: do all nodes run "
                       "one build?",
                       cell.type().name, node_),
           cell.name(), ""});
      return;
    }
    method = found->second.get();
  }
  cell.enqueue(*method->receive(*method, std::move(incoming)));
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

}  // namespace desta::runtime::detail
