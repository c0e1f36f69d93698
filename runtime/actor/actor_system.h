// Actors spread over the nodes of a job, in the manner of Ray: objects that live on one node, are
// called from any, and serve one call at a time, in the order of each caller.
//
//   ActorSystem system(*transport);                       // one on each node
//   if (system.node() != 0) return system.run_until_shutdown();
//   auto stage = system.spawn<Stage>({.name = "stage/0", .node = 1}, StageOptions{...});
//   Future<StepReport> report = stage.call<&Stage::run_step>(plan);
//   use(report.get());
//   system.shutdown();
//
// Nodes are the ranks of an MPI job and the workers that joined it. Node 0 keeps the names, the
// resources and the nodes. runtime/README.md tells what is guaranteed and what is not.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/actor_ref.h"
#include "runtime/actor/errors.h"
#include "runtime/actor/future.h"
#include "runtime/actor/object_ref.h"
#include "runtime/actor/placement.h"
#include "runtime/actor/registry.h"
#include "runtime/actor/spawn_options.h"
#include "runtime/actor/task.h"
#include "runtime/telemetry/snapshot.h"
#include "runtime/telemetry/trace.h"
#include "runtime/transport/transport.h"

namespace desta::runtime {

struct ActorSystemOptions {
  // What actors may be placed by. Nothing given: this process's share of the machine's cores.
  Resources resources{};
  std::string host{};  // empty: this machine's name
  // Threads that run actors at a time. 0: 2, so that a method that computes does not hold up others.
  int threads = 0;
  // How long a waiting thread looks for its answer before it sleeps: about what it takes to wake two
  // threads of an idle machine (bench/actors.sh, first call after idling).
  std::chrono::microseconds spin{300};
  // Other nodes tell node 0 so often that they are well, and are called silent after a while.
  std::chrono::milliseconds heartbeat{1000};
  std::chrono::milliseconds silence{10'000};
  // A call that runs for longer than this has node 0 look for the one that all wait for.
  std::chrono::seconds hang_after{300};
  // Records each stretch of time in which an actor of this node runs a method, while it is enabled;
  // it must outlive the system. Null: nothing.
  Trace* trace = nullptr;
  // Most bytes of the objects that this node has put, or keeps for its host. 0: 30 % of the machine's
  // memory, as in Ray.
  std::uint64_t object_memory = 0;
};

// Resources that were reserved together: a bundle for each that was asked for.
class PlacementGroup {
 public:
  PlacementGroup() = default;
  PlacementGroup(std::uint64_t id, std::vector<int> nodes) : id_(id), nodes_(std::move(nodes)) {}

  // For SpawnOptions::placement_group.
  [[nodiscard]] std::uint64_t id() const { return id_; }
  // Where each bundle is.
  [[nodiscard]] const std::vector<int>& nodes() const { return nodes_; }

 private:
  std::uint64_t id_ = 0;
  std::vector<int> nodes_;
};

namespace detail {
class NodeCore;
class Scheduler;
}  // namespace detail

// Makes the system's own actors known, as each ActorSystem does: for who needs
// ActorRegistry::fingerprint() before there is one. Again is harmless.
void register_system_types();

class ActorSystem {
 public:
  // Takes over the transport and starts it. The transport must outlive the system.
  explicit ActorSystem(Transport& transport, ActorSystemOptions options = {});
  // For tests: with a scheduler of one's own, which must outlive the system.
  ActorSystem(Transport& transport, detail::Scheduler& scheduler, ActorSystemOptions options = {});
  // Stops this node's actors. After an error on node 0 the other nodes are not told: the launcher
  // ends them when this process exits.
  ~ActorSystem();
  ActorSystem(const ActorSystem&) = delete;
  ActorSystem& operator=(const ActorSystem&) = delete;

  [[nodiscard]] int node() const;
  // The ranks of the job. Workers that joined have higher numbers.
  [[nodiscard]] int node_count() const;
  [[nodiscard]] const ActorSystemOptions& options() const { return options_; }

  // Makes an actor. Returns when its name is taken and its node has begun to construct it; calls
  // wait for the constructor, and ref.ready() tells when it is done or why it failed. Arguments
  // are of the registered types. Throws InternalError when the name is taken, the node does not
  // exist or the type or these arguments are not registered, InsufficientResources when no node
  // has what it needs.
  template <typename Actor, typename... Args>
  requires std::is_constructible_v<Actor, detail::Packed<Args>...> ActorRef<Actor> spawn(
      SpawnOptions options, const Args&... args) {
    const detail::ActorType& type = detail::ActorRegistry::instance().find(typeid(Actor));
    const std::string signature = detail::signature_of<detail::Packed<Args>...>();
    detail::check_signature(type, signature);
    WireWriter arguments;
    (arguments(detail::Packed<Args>(args)), ...);
    return ActorRef<Actor>(
        spawn_packed(type, std::move(options), signature, arguments));
  }

  // The actor of this name. Throws InternalError when there is none or it is of another type.
  template <typename Actor>
  [[nodiscard]] ActorRef<Actor> get_actor(const std::string& name) {
    return ActorRef<Actor>(look_up(name, detail::ActorRegistry::instance().find(typeid(Actor))));
  }

  // Ends an actor now: calls that wait fail with ActorDied, the one that runs may finish (and is
  // told, see call_is_cancelled()), then its object and its children go. Not waited for.
  template <typename Actor>
  void kill(const ActorRef<Actor>& actor) {
    kill_actor(*actor.handle());
  }

  // Reserves resources on nodes, all or nothing: one bundle for each entry, by one of Ray's
  // strategies (runtime/actor/placement.h). Throws InsufficientResources.
  [[nodiscard]] PlacementGroup reserve(const std::vector<Resources>& bundles,
                                       PlacementStrategy strategy = PlacementStrategy::kPack);
  // Ends the actors inside and gives the resources back.
  void release(const PlacementGroup& group);

  // Shares a value with the job (runtime/actor/object_ref.h). Up to 100 KiB it stays in this node's
  // memory; a larger one is copied into memory that the host's processes share. It is packed as an
  // argument is; a Buffer, or one inside, is only copied that once. Throws ObjectStoreFull.
  template <typename T>
  [[nodiscard]] ObjectRef<T> put(const T& value) {
    WireWriter packed;
    packed(value);
    auto [hold, size] = put_packed(packed);
    return ObjectRef<T>(std::move(hold), size);
  }
  // The value, brought to this node where it is not here yet. A Buffer, or one inside, is the shared
  // memory itself, not a copy; it lives as long as something uses it. Throws ObjectLost when the node
  // that put it is gone, ObjectStoreFull when this one cannot keep it for its host, TransportError
  // when it does not come in time. Holds the calling thread.
  template <typename T>
  [[nodiscard]] std::shared_ptr<const T> get(
      const ObjectRef<T>& object, std::optional<std::chrono::nanoseconds> timeout = std::nullopt) {
    const detail::ObjectValue packed = packed_value(object.id(), object.size(), timeout);
    auto value = std::make_shared<T>();
    const auto bytes = packed.bytes.as<char>();
    WireReader reader({bytes.data(), bytes.size()}, packed.buffers, this);
    unpack_into(reader, *value);
    return value;
  }

  // All nodes, and all actors of all living nodes by node and order of birth.
  [[nodiscard]] std::vector<NodeInfo> nodes();
  [[nodiscard]] std::vector<ActorInfo> describe();
  // Everything at once. Never waits longer than `patience` for a node. Node 0 only.
  [[nodiscard]] SystemSnapshot snapshot(std::chrono::milliseconds patience = std::chrono::seconds(1));
  // A figure of the running job for snapshots: publish("samples_per_second", 12.5). Node 0 only.
  void publish(const std::string& gauge, double value);

  // What to do when an actor that escalates and whose owner is this program has died. By default
  // it is logged. Called on a thread of the system: must be short.
  void on_escalation(std::function<void(const RemoteError&)> handler);

  // Node 0 only, and not from an actor: ends all nodes' actors (each may finish the call that it is
  // in; calls that wait fail) and lets run_until_shutdown() return everywhere. Throws TransportError
  // naming what has not ended in time: nodes, or actors and the methods that they are in.
  void shutdown(std::chrono::milliseconds timeout = std::chrono::seconds(60));
  // The other nodes: serves actors until node 0 says shutdown (true). On a joined worker, throws
  // TransportError when the job is gone, and leaves the job in order (false) once `leave` holds,
  // which is asked ten times a second: its actors end here, and their calls as if it were lost.
  bool run_until_shutdown(const std::function<bool()>& leave = nullptr);

  // A worker is lost: told by the transport, on node 0.
  void node_lost(int node, const std::string& why);
  // On a worker: the job is gone. All calls that are out fail with it, and run_until_shutdown() ends.
  void job_lost(const std::string& why);
  // Called on node 0 when a worker's node can be used, with its number. It must be short, and must
  // not use the system: let it tell another thread.
  void on_node_joined(std::function<void(int node)> handler);

  // Things of this process that its actors use, one of each type: a Communicator, a device. The
  // caller keeps them alive.
  template <typename T>
  void provide(T& resource) {
    const std::lock_guard lock(mutex_);
    resources_[typeid(T)] = &resource;
  }
  // Throws InternalError when none was provided.
  template <typename T>
  [[nodiscard]] T& resource() {
    return *static_cast<T*>(find_resource(typeid(T)));
  }

  // For the parts of the runtime.
  [[nodiscard]] detail::NodeCore& core() { return *core_; }
  void escalate(const RemoteError& error);
  void note_shut_down();
  void note_shut_down_done(int node);
  void note_node_joined(int node);

 private:
  void start();
  std::shared_ptr<detail::ActorHandle> spawn_packed(const detail::ActorType& type,
                                                    SpawnOptions options,
                                                    const std::string& signature,
                                                    WireWriter& arguments);
  std::shared_ptr<detail::ActorHandle> look_up(const std::string& name,
                                               const detail::ActorType& type);
  void kill_actor(detail::ActorHandle& handle);
  // With its size in bytes.
  [[nodiscard]] std::pair<detail::ObjectHold, std::uint64_t> put_packed(WireWriter& packed);
  [[nodiscard]] detail::ObjectValue packed_value(std::uint64_t object, std::uint64_t size,
                                                 std::optional<std::chrono::nanoseconds> timeout);
  void* find_resource(std::type_index type);
  void send_heartbeat();
  [[nodiscard]] bool stop_local(std::chrono::steady_clock::time_point deadline);

  ActorSystemOptions options_;
  Transport& transport_;
  std::unique_ptr<detail::Scheduler> own_scheduler_;
  detail::Scheduler& scheduler_;
  std::unique_ptr<detail::NodeCore> core_;
  boost::intrusive_ptr<detail::FutureState<void>> shut_down_;

  std::mutex mutex_;
  std::map<std::type_index, void*> resources_;
  std::map<std::string, double> gauges_;
  std::function<void(const RemoteError&)> escalation_;
  std::function<void(int)> joined_;
  std::vector<int> nodes_done_;
  bool stopped_ = false;
  bool left_behind_ = false;  // a thread that sits in a method
  std::string job_lost_;
  std::chrono::steady_clock::time_point started_;
  std::uint64_t last_calls_ = 0;
  std::chrono::steady_clock::time_point last_snapshot_;
};

}  // namespace desta::runtime
