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
// Calls carry orders, not tensors. Each actor has a thread of its own, so a long computation or a
// wait for another actor holds up nobody else. Node 0 keeps the names.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/actor_ref.h"
#include "runtime/actor/future.h"
#include "runtime/actor/messages.h"
#include "runtime/actor/registry.h"
#include "runtime/core/error.h"
#include "runtime/transport/transport.h"

namespace desta::runtime {

struct SpawnOptions {
  std::string name{};  // unique in the job; empty: "<type>#<number>"
  int node = -1;       // -1: the node that spawns
  // 0: an error of a method goes to its caller and the actor goes on as it is. N: after an error
  // the object is made anew from the same arguments, at most N times; the next error kills it.
  int max_restarts = 0;
  // Calls that may wait or run at a time; one more fails with PendingCallsLimitExceeded.
  int max_pending_calls = 1000;
};

[[nodiscard]] std::string_view name_of(ActorState state);

class ActorSystem {
 public:
  // Takes over the transport's handler and starts it. The transport must outlive the system.
  explicit ActorSystem(Transport& transport);
  // Stops this node's actors. After an error on node 0 the other nodes are not told: the launcher
  // ends them when this process exits.
  ~ActorSystem();
  ActorSystem(const ActorSystem&) = delete;
  ActorSystem& operator=(const ActorSystem&) = delete;

  [[nodiscard]] int node() const { return transport_.node(); }
  [[nodiscard]] int node_count() const { return transport_.node_count(); }

  // Makes an actor. Returns when its name is taken and its node has begun to construct it; calls
  // wait for the constructor, and ref.ready() tells when it is done or why it failed. Arguments
  // are of the registered types. Throws InternalError when the name is taken, the node does not
  // exist or the type or these arguments are not registered.
  template <typename Actor, typename... Args>
  requires std::is_constructible_v<Actor, detail::Packed<Args>...> ActorRef<Actor> spawn(
      SpawnOptions options, const Args&... args) {
    const detail::ActorType& type = detail::ActorRegistry::instance().find(typeid(Actor));
    const std::string signature = detail::signature_of<detail::Packed<Args>...>();
    detail::check_signature(type, signature);
    return ActorRef<Actor>(this, spawn_packed(type, std::move(options), signature,
                                              pack(detail::Packed<Args>(args)...)));
  }

  // The actor of this name. Throws InternalError when there is none or it is of another type.
  template <typename Actor>
  [[nodiscard]] ActorRef<Actor> get_actor(const std::string& name) {
    const detail::ActorType& type = detail::ActorRegistry::instance().find(typeid(Actor));
    return ActorRef<Actor>(this, look_up(name, type));
  }

  // All actors of all nodes, by node and order of birth.
  [[nodiscard]] std::vector<ActorInfo> describe();

  // Node 0 only, and not from an actor: ends all nodes' actors (each finishes the call that it is
  // in; calls that wait fail) and lets run_until_shutdown() return everywhere. Throws
  // TransportError naming the nodes that have not answered in time.
  void shutdown(std::chrono::milliseconds timeout = std::chrono::seconds(60));
  // The other nodes: serves actors until node 0 says shutdown.
  void run_until_shutdown();

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

  // For ActorRef: sends a call.
  void call(detail::CallRequest request, std::shared_ptr<detail::FutureState> state);

 private:
  using Continuation = std::function<void(detail::Reply)>;

  detail::ActorAddress spawn_packed(const detail::ActorType& type, SpawnOptions options,
                                    const std::string& signature, std::string arguments);
  detail::ActorAddress look_up(const std::string& name, const detail::ActorType& type);
  void* find_resource(std::type_index type);

  // Questions and answers.
  void ask(int node, detail::MessageType type, std::string body, Continuation continuation);
  detail::Reply ask_and_wait(int node, detail::MessageType type, std::string body,
                             const std::string& what);
  void deliver(int node, detail::Envelope envelope);
  void answer(int node, std::uint64_t request, detail::Reply reply);
  void dispatch(int from, detail::Envelope envelope);

  // The sides that answer.
  void serve(int from, detail::Envelope& envelope);
  void serve_spawn(int from, std::uint64_t request, const std::string& body);
  void serve_create(int from, std::uint64_t request, const std::string& body);
  void serve_call(int from, std::uint64_t request, const std::string& body);
  void serve_lookup(int from, std::uint64_t request, const std::string& body);
  void serve_describe(int from, std::uint64_t request);

  void stop_local();

  Transport& transport_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, std::unique_ptr<detail::ActorCell>> cells_;
  std::map<std::type_index, void*> resources_;
  std::uint64_t next_request_ = 1;
  std::map<std::uint64_t, Continuation> asked_;
  bool shutdown_asked_ = false;
  bool stopped_ = false;
  std::set<int> nodes_done_;

  // Node 0: the directory. A name is reserved at once and can be looked up when the actor exists.
  struct Entry {
    detail::ActorAddress address;
    bool exists = false;
  };
  std::map<std::string, Entry> names_;
  std::uint64_t next_actor_ = 1;
};

// The system of the actor, or of the future, that this thread runs or unpacks for.
[[nodiscard]] ActorSystem& current_system();

template <typename Actor>
template <auto kMethod, typename... Args>
requires detail::CallableOn<Actor, kMethod, Args...>
auto ActorRef<Actor>::call(Args&&... args) const {
  using Traits = detail::MethodTraits<decltype(kMethod)>;
  const auto& type = detail::ActorRegistry::instance().find(typeid(Actor));
  const std::string& method = detail::method_name(type, typeid(detail::MethodTag<kMethod>));
  typename Traits::Arguments arguments(std::forward<Args>(args)...);
  return send<typename Traits::Result>(method, pack(arguments));
}

template <typename Actor>
template <typename Result>
Future<Result> ActorRef<Actor>::send(const std::string& method, std::string arguments) const {
  if (system_ == nullptr) {
    throw InternalError("a reference to no actor was called");
  }
  auto state = std::make_shared<detail::FutureState>();
  state->system = system_;
  state->actor = address_;
  state->method = method.empty() ? "constructor" : method;
  system_->call({address_.id, method, std::move(arguments)}, state);
  return Future<Result>(std::move(state));
}

}  // namespace desta::runtime
