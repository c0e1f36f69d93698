#include "runtime/actor/actor_system.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "runtime/actor/ask.h"
#include "runtime/actor/directory.h"
#include "runtime/actor/node_agent.h"
#include "runtime/actor/thread_scheduler.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace {

using detail::Directory;
using detail::NodeAgent;
using Clock = std::chrono::steady_clock;

constexpr int kDirectoryNode = 0;
constexpr int kDefaultThreads = 2;

std::uint64_t machine_memory() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

ActorSystemOptions completed(ActorSystemOptions options) {
  if (options.host.empty()) {
    utsname name{};
    options.host = uname(&name) == 0 ? name.nodename : "(unknown host)";
  }
  if (options.threads <= 0) {
    options.threads = kDefaultThreads;
  }
  if (options.resources == Resources{}) {
    options.resources.cpu = std::max(1U, std::thread::hardware_concurrency());
    options.resources.memory = machine_memory();
  }
  if (options.object_memory == 0) {
    options.object_memory = machine_memory() / 10 * 3;
  }
  return options;
}

// What a thread may touch that is still inside a method must outlive it, and nobody knows how long
// that is. It stays in sight, so that nothing takes it for a leak.
void keep_for_ever(std::unique_ptr<detail::NodeCore> core,
                   std::unique_ptr<detail::Scheduler> scheduler) {
  using Kept = std::pair<std::unique_ptr<detail::NodeCore>, std::unique_ptr<detail::Scheduler>>;
  static std::mutex mutex;
  static auto* const kept = new std::vector<Kept>;
  const std::lock_guard lock(mutex);
  kept->emplace_back(std::move(core), std::move(scheduler));
}

}  // namespace

ActorSystem::ActorSystem(Transport& transport, ActorSystemOptions options)
    : options_(completed(std::move(options))),
      transport_(transport),
      own_scheduler_(std::make_unique<detail::ThreadScheduler>(options_.threads, options_.spin)),
      scheduler_(*own_scheduler_) {
  start();
}

ActorSystem::ActorSystem(Transport& transport, detail::Scheduler& scheduler,
                         ActorSystemOptions options)
    : options_(completed(std::move(options))), transport_(transport), scheduler_(scheduler) {
  start();
}

void register_system_types() {
  static std::once_flag registered;  // systems of this process may run already
  std::call_once(registered, [] {
    detail::register_node_agent();
    detail::register_directory();
    error_type<InsufficientResources>();
    error_type<ObjectLost>();
    error_type<ObjectStoreFull>();
  });
}

void ActorSystem::start() {
  register_system_types();
  core_ = std::make_unique<detail::NodeCore>(*this, transport_, scheduler_);
  started_ = last_snapshot_ = scheduler_.now();
  shut_down_.reset(new detail::FutureState<void>(scheduler_, nullptr, nullptr));
  scheduler_.start(transport_);
  detail::start_node_agent(*core_);
  if (node() == kDirectoryNode) {
    detail::start_directory(*core_);
  }
  transport_.on_lost([this](int lost, const std::string& why) {
    lost == kDirectoryNode ? job_lost(why) : node_lost(lost, why);
  });
  transport_.start([this](Message message) { core_->dispatch(std::move(message)); });
  NodeInfo self;
  self.node = node();
  self.kind = node() < node_count() ? NodeKind::kRank : NodeKind::kJoined;
  self.host = options_.host;
  self.process = getpid();
  self.total = self.free = options_.resources;
  (void)detail::directory_ref(*core_)
      .call<&Directory::register_node>(self)
      .then([this](const detail::Welcome& welcome) {
        for (const int lost : welcome.lost) {
          core_->node_lost(lost, "before this node came");
        }
        core_->set_moved(welcome.moved);
      });
  if (node() != kDirectoryNode) {
    send_heartbeat();
  }
}

ActorSystem::~ActorSystem() {
  const auto patience = std::chrono::seconds(10);
  if (stop_local(scheduler_.now() + patience)) {
    return;
  }
  for (const std::string& running : core_->still_running()) {
    log().error("{} did not end; its thread is left behind", running);
  }
  keep_for_ever(std::move(core_), std::move(own_scheduler_));
}

int ActorSystem::node() const { return transport_.node(); }

int ActorSystem::node_count() const { return transport_.node_count(); }

void ActorSystem::send_heartbeat() {
  scheduler_.after(options_.heartbeat, [this] {
    if (!core_->stopping()) {
      (void)detail::directory_ref(*core_).call<&Directory::heartbeat>(node());
      send_heartbeat();
    }
  });
}

std::shared_ptr<detail::ActorHandle> ActorSystem::spawn_packed(const detail::ActorType& type,
                                                               SpawnOptions options,
                                                               const std::string& signature,
                                                               WireWriter& arguments) {
  detail::SpawnRequest request;
  const detail::ActorId id = core_->next_actor();
  const bool here = options.node < 0 && options.resources == Resources{} &&
                    options.placement_group == 0;
  if (here) {
    options.node = node();
  }
  request.address = {options.node,
                     id,
                     options.name,
                     type.name,
                     options.max_pending_calls,
                     options.max_task_retries,
                     options.max_restarts != 0};
  if (options.name.empty()) {
    request.address.name = fmt::format("{}#{}.{}", type.name, node(), detail::number_of(id));
  }
  request.options = std::move(options);
  request.signature = signature;
  request.arguments = std::move(arguments.bytes());
  request.buffers = std::move(arguments.buffers());
  for (const std::uint64_t object : arguments.objects()) {
    request.objects.push_back(core_->objects().hold(object));
  }
  request.owner = core_->caller();
  if (request.owner.actor != 0) {
    request.owner_name = current_actor().name;
  }
  const std::string what = fmt::format("spawning actor '{}'", request.address.name);
  if (detail::is_tracked(request)) {
    request.address = ask(detail::directory_ref(*core_).call<&Directory::spawn>(request), what);
  } else if (request.address.node == node()) {
    (void)core_->create(request);
  } else {
    const bool on_worker = request.address.node >= node_count();
    if (on_worker) {
      // A message to a worker that never was would be waited for for ever.
      ask(detail::directory_ref(*core_).call<&Directory::check_node>(request.address.node), what);
    }
    const auto made =
        detail::agent_ref(*core_, request.address.node).call<&NodeAgent::create>(request);
    if (on_worker) {
      ask(made, what);
    } else if (const auto error = made.error(); error.has_value()) {
      throw_error(error->kind, fmt::format("{}: {}", what, error->message));
    }
  }
  if (request.owner.actor != 0 && request.options.lifetime == Lifetime::kOwned) {
    detail::current_activation().cell->add_child(
        {id, request.address.node, request.address.may_move});
  }
  return core_->handle(request.address);
}

std::shared_ptr<detail::ActorHandle> ActorSystem::look_up(const std::string& name,
                                                          const detail::ActorType& type) {
  const auto address = ask(detail::directory_ref(*core_).call<&Directory::look_up>(name),
                           fmt::format("looking up actor '{}'", name));
  if (address.type != type.name) {
    throw InternalError("actor '{}' is of type {}, not {}", name, address.type, type.name);
  }
  return core_->handle(address);
}

void ActorSystem::kill_actor(detail::ActorHandle& handle) {
  core_->end_actor(handle.address.id, handle.node, handle.address.may_move,
                   {ErrorKind::kInternal, "", "the actor was killed", handle.address.name, ""});
}

std::pair<detail::ObjectHold, std::uint64_t> ActorSystem::put_packed(WireWriter& packed) {
  const auto bytes = std::make_shared<const std::string>(std::move(packed.bytes()));
  detail::ObjectValue value;
  value.bytes = Buffer(bytes, std::as_bytes(std::span(*bytes)));
  value.buffers = std::move(packed.buffers());
  for (const std::uint64_t object : packed.objects()) {
    value.inner.push_back(core_->objects().hold(object));
  }
  const std::uint64_t size = value.size();
  return {core_->objects().put(std::move(value)), size};
}

detail::ObjectValue ActorSystem::packed_value(std::uint64_t object, std::uint64_t size,
                                              std::optional<std::chrono::nanoseconds> timeout) {
  if (object == 0) {
    throw InternalError("a reference to no object was used");
  }
  if (core_->objects().state(object) != detail::ObjectStore::State::kHere) {
    const Future<void> brought =
        detail::agent_ref(*core_, node()).call<&NodeAgent::bring_object>(object, size);
    if (!wait(std::vector{brought}, WaitFor::kAll, timeout)) {
      throw TransportError("object {} of node {} has not come to node {} within {} s",
                           detail::number_of(object), detail::owner_of(object), node(),
                           std::chrono::duration<double>(*timeout).count());
    }
    try {
      brought.get();
    } catch (const ObjectLost&) {
      throw ObjectLost(brought.error()->message, ErrorKind::kTransport);
    } catch (const ObjectStoreFull&) {
      throw ObjectStoreFull(brought.error()->message);
    }
  }
  auto value = core_->objects().value(object);
  if (!value.has_value()) {
    throw ObjectLost(fmt::format("object {} of node {} is lost: its node is gone",
                                 detail::number_of(object), detail::owner_of(object)),
                     ErrorKind::kTransport);
  }
  return std::move(*value);
}

PlacementGroup ActorSystem::reserve(const std::vector<Resources>& bundles,
                                    PlacementStrategy strategy) {
  const auto group =
      ask(detail::directory_ref(*core_).call<&Directory::reserve_group>(bundles, strategy),
          "reserving a placement group");
  return {group.id, group.nodes};
}

void ActorSystem::release(const PlacementGroup& group) {
  ask(detail::directory_ref(*core_).call<&Directory::release_group>(group.id()),
      "releasing a placement group");
}

void ActorSystem::on_escalation(std::function<void(const RemoteError&)> handler) {
  const std::lock_guard lock(mutex_);
  escalation_ = std::move(handler);
}

void ActorSystem::escalate(const RemoteError& error) {
  std::function<void(const RemoteError&)> handler;
  {
    const std::lock_guard lock(mutex_);
    handler = escalation_;
  }
  if (handler) {
    handler(error);
  } else {
    log().error("actor {} is dead, and its owner, this program, must know: {}", error.actor,
                error.message);
  }
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

void ActorSystem::on_node_joined(std::function<void(int)> handler) {
  const std::lock_guard lock(mutex_);
  joined_ = std::move(handler);
}

void ActorSystem::note_node_joined(int joined) {
  std::function<void(int)> handler;
  {
    const std::lock_guard lock(mutex_);
    handler = joined_;
  }
  if (handler) {
    handler(joined);
  }
}

void ActorSystem::node_lost(int lost, const std::string& why) {
  (void)detail::directory_ref(*core_).call<&Directory::node_lost>(lost, why);
}

void ActorSystem::job_lost(const std::string& why) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_ || !job_lost_.empty()) {
      return;
    }
    job_lost_ = why.empty() ? "the job is gone" : why;
  }
  core_->fail_all({ErrorKind::kTransport, "", fmt::format("the job is gone: {}", why), "", ""});
  note_shut_down();
}

void ActorSystem::note_shut_down() {
  if (shut_down_->claim()) {
    shut_down_->set({});
  }
}

void ActorSystem::note_shut_down_done(int done) {
  const std::lock_guard lock(mutex_);
  nodes_done_.push_back(done);
}

void ActorSystem::shutdown(std::chrono::milliseconds timeout) {
  if (node() != kDirectoryNode || detail::current_activation().cell != nullptr) {
    throw InternalError("shutdown() is for the main thread of node 0; an actor returns instead");
  }
  const auto deadline = scheduler_.now() + timeout;
  std::vector<int> others;
  for (const NodeInfo& info : nodes()) {
    if (info.node != node() && info.state != NodeState::kDead) {
      others.push_back(info.node);
    }
  }
  for (int rank = 1; rank < node_count(); ++rank) {
    if (std::ranges::find(others, rank) == others.end()) {
      others.push_back(rank);
    }
  }
  for (const int other : others) {
    (void)detail::agent_ref(*core_, other).call<&NodeAgent::shut_down>();
  }
  const bool rest = core_->stop_actors(deadline);
  const auto missing = [&] {
    std::vector<int> names;
    std::vector<int> lost;
    for (const NodeInfo& info : nodes()) {
      if (info.state == NodeState::kDead) {
        lost.push_back(info.node);
      }
    }
    const std::lock_guard lock(mutex_);
    for (const int other : others) {
      if (std::ranges::find(nodes_done_, other) == nodes_done_.end() &&
          std::ranges::find(lost, other) == lost.end()) {
        names.push_back(other);
      }
    }
    return names;
  };
  const bool all = scheduler_.wait_until([&] { return missing().empty(); }, deadline);
  if (!rest || !all) {
    std::vector<std::string> problems = core_->still_running();
    for (const int other : missing()) {
      problems.push_back(fmt::format("node {}", other));
    }
    throw TransportError("shutdown: {} did not end within {} s", fmt::join(problems, ", "),
                         std::chrono::duration<double>(timeout).count());
  }
  (void)stop_local(deadline);
}

bool ActorSystem::run_until_shutdown(const std::function<bool()>& leave) {
  bool leaves = false;
  while (!leaves && !shut_down_->wait(leave ? scheduler_.now() + std::chrono::milliseconds(100)
                                            : detail::Scheduler::Deadline())) {
    leaves = leave();
  }
  const bool rest = core_->stop_actors(scheduler_.now() + std::chrono::seconds(60), leaves);
  std::string lost;
  {
    const std::lock_guard lock(mutex_);
    lost = job_lost_;
  }
  if (!rest) {
    throw TransportError("shutdown: {} did not end",
                         fmt::join(core_->still_running(), ", "));
  }
  if (!lost.empty()) {
    throw TransportError("the job is gone: {}", lost);
  }
  if (!leaves) {
    (void)detail::agent_ref(*core_, kDirectoryNode).call<&NodeAgent::shut_down_done>(node());
  }
  (void)stop_local(scheduler_.now());
  return !leaves;
}

bool ActorSystem::stop_local(Clock::time_point deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(stopped_, true)) {
      return !left_behind_;
    }
  }
  const bool rest = core_->stop_actors(deadline);
  transport_.stop();
  core_->objects().close();
  left_behind_ = !scheduler_.stop() || !rest;
  return !left_behind_;
}

}  // namespace desta::runtime
