#include "runtime/actor/actor_system.h"

#include <fmt/ranges.h>

#include <cstring>
#include <exception>

#include "runtime/core/log.h"
#include "runtime/core/wire.h"

namespace desta::runtime {

using detail::ActorAddress;
using detail::ActorCell;
using detail::ActorRegistry;
using detail::Envelope;
using detail::MessageType;
using detail::Reply;
using detail::ReplyStatus;
using detail::SpawnRequest;

namespace {

constexpr int kDirectoryNode = 0;

Transport::Message to_message(const Envelope& envelope) {
  const std::string bytes = pack(envelope);
  Transport::Message message(bytes.size());
  std::memcpy(message.data(), bytes.data(), bytes.size());
  return message;
}

Envelope to_envelope(const Transport::Message& message) {
  return unpack<Envelope>(
      std::string(reinterpret_cast<const char*>(message.data()), message.size()));
}

Reply failure(ErrorKind kind, std::string message) {
  return {ReplyStatus::kFailed, "", {kind, std::move(message), "", ""}};
}

Reply shutting_down() {
  return failure(ErrorKind::kTransport, "the actor system is shutting down");
}

}  // namespace

std::string_view name_of(ActorState state) {
  switch (state) {
    case ActorState::kStarting:
      return "starting";
    case ActorState::kIdle:
      return "idle";
    case ActorState::kBusy:
      return "busy";
    case ActorState::kRestarting:
      return "restarting";
    case ActorState::kDead:
      return "dead";
  }
  return "unknown";
}

ActorSystem& current_system() {
  ActorSystem* system = detail::CurrentSystem::get();
  if (system == nullptr) {
    throw InternalError("current_system() was asked outside of an actor");
  }
  return *system;
}

ActorSystem::ActorSystem(Transport& transport) : transport_(transport) {
  transport_.set_handler([this](int from, const Transport::Message& message) {
    try {
      dispatch(from, to_envelope(message));
    } catch (const std::exception& error) {
      log().error("a message of node {} was dropped: {}", from, error.what());
    }
  });
  transport_.start();
}

ActorSystem::~ActorSystem() {
  stop_local();
  transport_.stop();
}

ActorAddress ActorSystem::spawn_packed(const detail::ActorType& type, SpawnOptions options,
                                       const std::string& signature, std::string arguments) {
  SpawnRequest request;
  request.address = {options.node < 0 ? node() : options.node, 0, std::move(options.name),
                     type.name};
  request.signature = signature;
  request.arguments = std::move(arguments);
  request.max_restarts = options.max_restarts;
  request.max_pending_calls = options.max_pending_calls;
  const Reply reply = ask_and_wait(kDirectoryNode, MessageType::kSpawn, pack(request),
                                   fmt::format("spawning actor '{}'", request.address.name));
  return unpack<ActorAddress>(reply.result);
}

ActorAddress ActorSystem::look_up(const std::string& name, const detail::ActorType& type) {
  const Reply reply = ask_and_wait(kDirectoryNode, MessageType::kLookup, pack(name),
                                   fmt::format("looking up actor '{}'", name));
  auto address = unpack<ActorAddress>(reply.result);
  if (address.type != type.name) {
    throw InternalError("actor '{}' is of type {}, not {}", name, address.type, type.name);
  }
  return address;
}

std::vector<ActorInfo> ActorSystem::describe() {
  std::vector<ActorInfo> all;
  for (int node = 0; node < node_count(); ++node) {
    const Reply reply = ask_and_wait(node, MessageType::kDescribe, "",
                                     fmt::format("describing the actors of node {}", node));
    for (ActorInfo& info : unpack<std::vector<ActorInfo>>(reply.result)) {
      all.push_back(std::move(info));
    }
  }
  return all;
}

void* ActorSystem::find_resource(std::type_index type) {
  const std::lock_guard lock(mutex_);
  const auto found = resources_.find(type);
  if (found == resources_.end()) {
    throw InternalError("node {} has no resource of type {}: provide() it before actors ask",
                        node(), type.name());
  }
  return found->second;
}

void ActorSystem::call(detail::CallRequest request, std::shared_ptr<detail::FutureState> state) {
  const int node = state->actor.node;
  ask(node, MessageType::kCall, pack(request),
      [state = std::move(state)](Reply reply) { detail::fulfil(*state, std::move(reply)); });
}

void ActorSystem::shutdown(std::chrono::milliseconds timeout) {
  if (node() != kDirectoryNode || detail::current_actor_or_null() != nullptr) {
    throw InternalError("shutdown() is for the main thread of node 0; an actor returns instead");
  }
  for (int other = 1; other < node_count(); ++other) {
    deliver(other, {MessageType::kShutdown, 0, ""});
  }
  stop_local();
  std::unique_lock lock(mutex_);
  const auto others = static_cast<std::size_t>(node_count() - 1);
  const bool all = changed_.wait_for(lock, timeout, [&] { return nodes_done_.size() == others; });
  if (!all) {
    std::vector<int> missing;
    for (int other = 1; other < node_count(); ++other) {
      if (!nodes_done_.contains(other)) {
        missing.push_back(other);
      }
    }
    throw TransportError("shutdown: node {} did not end its actors within {} s",
                         fmt::join(missing, ", "), std::chrono::duration<double>(timeout).count());
  }
  lock.unlock();
  transport_.stop();
}

void ActorSystem::run_until_shutdown() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return shutdown_asked_; });
  }
  stop_local();
  deliver(kDirectoryNode, {MessageType::kShutdownDone, 0, ""});
  transport_.stop();
}

void ActorSystem::stop_local() {
  std::map<std::uint64_t, Continuation> unanswered;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    unanswered.swap(asked_);
  }
  for (auto& [request, continuation] : unanswered) {
    continuation(shutting_down());
  }
  // No cell is added once stopped_ is set, and none is erased before the destructor.
  for (auto& [id, cell] : cells_) {
    cell->stop();
  }
}

void ActorSystem::ask(int node, MessageType type, std::string body, Continuation continuation) {
  std::uint64_t request = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!stopped_) {
      request = next_request_++;
      asked_.emplace(request, continuation);
    }
  }
  if (request == 0) {
    continuation(shutting_down());
    return;
  }
  try {
    deliver(node, {type, request, std::move(body)});
  } catch (const Error& error) {
    answer(this->node(), request, failure(error.kind(), error.what()));
  }
}

Reply ActorSystem::ask_and_wait(int node, MessageType type, std::string body,
                                const std::string& what) {
  detail::FutureState state;
  ask(node, type, std::move(body),
      [&state](Reply reply) { detail::fulfil(state, std::move(reply)); });
  (void)detail::wait_for(state, std::nullopt);
  if (state.reply.status != ReplyStatus::kOk) {
    throw_error(state.reply.error.kind, fmt::format("{}: {}", what, state.reply.error.message));
  }
  return std::move(state.reply);
}

void ActorSystem::deliver(int node, Envelope envelope) {
  if (node == this->node()) {
    dispatch(node, std::move(envelope));
  } else {
    transport_.send(node, to_message(envelope));
  }
}

void ActorSystem::answer(int node, std::uint64_t request, Reply reply) {
  try {
    deliver(node, {MessageType::kReply, request, pack(reply)});
  } catch (const std::exception& error) {
    log().warn("an answer to node {} was lost: {}", node, error.what());
  }
}

void ActorSystem::dispatch(int from, Envelope envelope) {
  switch (envelope.type) {
    case MessageType::kReply: {
      Continuation continuation;
      {
        const std::lock_guard lock(mutex_);
        const auto found = asked_.find(envelope.request);
        if (found == asked_.end()) {
          return;  // answered already, by stop_local()
        }
        continuation = std::move(found->second);
        asked_.erase(found);
      }
      continuation(unpack<Reply>(envelope.body));
      return;
    }
    case MessageType::kShutdown: {
      const std::lock_guard lock(mutex_);
      shutdown_asked_ = true;
      changed_.notify_all();
      return;
    }
    case MessageType::kShutdownDone: {
      const std::lock_guard lock(mutex_);
      nodes_done_.insert(from);
      changed_.notify_all();
      return;
    }
    default:
      try {
        serve(from, envelope);
      } catch (const Error& error) {
        answer(from, envelope.request, failure(error.kind(), error.what()));
      }
  }
}

void ActorSystem::serve(int from, Envelope& envelope) {
  switch (envelope.type) {
    case MessageType::kSpawn:
      return serve_spawn(from, envelope.request, envelope.body);
    case MessageType::kCreate:
      return serve_create(from, envelope.request, envelope.body);
    case MessageType::kCall:
      return serve_call(from, envelope.request, envelope.body);
    case MessageType::kLookup:
      return serve_lookup(from, envelope.request, envelope.body);
    case MessageType::kDescribe:
      return serve_describe(from, envelope.request);
    default:
      throw TransportError("a message of unknown type {}; do all nodes run one build?",
                           static_cast<int>(envelope.type));
  }
}

void ActorSystem::serve_spawn(int from, std::uint64_t request, const std::string& body) {
  auto spawn = unpack<SpawnRequest>(body);
  ActorAddress& address = spawn.address;
  if (address.node >= node_count()) {
    throw InternalError("there is no node {}: the job has {}", address.node, node_count());
  }
  {
    const std::lock_guard lock(mutex_);
    address.id = next_actor_++;
    if (address.name.empty()) {
      address.name = fmt::format("{}#{}", address.type, address.id);
    }
    const auto [entry, added] = names_.try_emplace(address.name, Entry{address});
    if (!added) {
      throw InternalError("the name is taken by an actor on node {}", entry->second.address.node);
    }
  }
  ask(address.node, MessageType::kCreate, pack(spawn), [this, from, request, address](Reply reply) {
    {
      const std::lock_guard lock(mutex_);
      if (reply.status == ReplyStatus::kOk) {
        names_.at(address.name).exists = true;
      } else {
        names_.erase(address.name);
      }
    }
    reply.result = pack(address);
    answer(from, request, std::move(reply));
  });
}

void ActorSystem::serve_create(int from, std::uint64_t request, const std::string& body) {
  auto spawn = unpack<SpawnRequest>(body);
  const detail::ActorType& type = ActorRegistry::instance().find(spawn.address.type);
  check_signature(type, spawn.signature);
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) {
      throw TransportError("the actor system is shutting down");
    }
    const std::uint64_t id = spawn.address.id;
    cells_.emplace(id, std::make_unique<ActorCell>(*this, std::move(spawn), type));
  }
  answer(from, request, {});
}

void ActorSystem::serve_call(int from, std::uint64_t request, const std::string& body) {
  auto call = unpack<detail::CallRequest>(body);
  ActorCell* cell = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = cells_.find(call.actor);
    if (found == cells_.end()) {
      throw InternalError("there is no such actor on node {}", node());
    }
    cell = found->second.get();
  }
  cell->call(std::move(call),
             [this, from, request](Reply reply) { answer(from, request, std::move(reply)); });
}

void ActorSystem::serve_lookup(int from, std::uint64_t request, const std::string& body) {
  const auto name = unpack<std::string>(body);
  Reply reply;
  {
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(name);
    if (found == names_.end() || !found->second.exists) {
      throw InternalError("there is no actor of this name");
    }
    reply.result = pack(found->second.address);
  }
  answer(from, request, std::move(reply));
}

void ActorSystem::serve_describe(int from, std::uint64_t request) {
  std::vector<ActorInfo> infos;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, cell] : cells_) {
      infos.push_back(cell->describe());
    }
  }
  Reply reply;
  reply.result = pack(infos);
  answer(from, request, std::move(reply));
}

}  // namespace desta::runtime
