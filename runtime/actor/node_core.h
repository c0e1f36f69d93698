// One node of an actor system: its actors, the calls that are out, and what it knows of the others.
// Private to this folder.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/actor_handle.h"
#include "runtime/actor/future.h"
#include "runtime/actor/object_store.h"
#include "runtime/actor/scheduler.h"
#include "runtime/core/adaptive_mutex.h"
#include "runtime/transport/transport.h"

namespace desta::runtime {

class ActorSystem;
struct ActorSystemOptions;

namespace detail {

// The error of a call that has no way to its actor.
[[nodiscard]] RemoteError unreachable(const std::string& message);
// The error of every call while the system ends.
[[nodiscard]] RemoteError shutting_down();
// Puts in the names that the future has.
[[nodiscard]] RemoteError named(RemoteError error, const FutureBase& future);

class NodeCore {
 public:
  NodeCore(ActorSystem& system, Transport& transport, Scheduler& scheduler);
  ~NodeCore();
  NodeCore(const NodeCore&) = delete;
  NodeCore& operator=(const NodeCore&) = delete;

  [[nodiscard]] ActorSystem* system() const { return &system_; }
  [[nodiscard]] Scheduler& scheduler() const { return scheduler_; }
  [[nodiscard]] const ActorSystemOptions& options() const;
  [[nodiscard]] Transport& transport() const { return transport_; }
  [[nodiscard]] ObjectStore& objects() const { return *objects_; }
  [[nodiscard]] int node() const { return node_; }
  [[nodiscard]] ActorId next_actor() { return actor_id(node_, next_actor_++); }
  // Who calls from this thread.
  [[nodiscard]] Caller caller() const;

  // The one handle of an actor on this node.
  [[nodiscard]] std::shared_ptr<ActorHandle> handle(const ActorAddress& address);

  // Makes an actor here. Throws InternalError when its type is not registered or is made from other
  // arguments. `object`: of a system actor.
  std::shared_ptr<ActorCell> create(SpawnRequest request, std::shared_ptr<void> object = nullptr);
  [[nodiscard]] std::shared_ptr<ActorCell> find(ActorId id);

  // A call of another node's actor: the message begins with its header and its number, the
  // arguments are packed behind.
  void begin_call(WireWriter& call, FutureBase& future, const MethodEntry& method);
  void send_call(FutureBase& future, WireWriter& call, int retries);
  void cancel(FutureBase& future);
  // For transports and tests: a message has come.
  void dispatch(Message message);
  // For the node's agent: hands an actor the calls that came before it was made.
  void deliver_early(ActorId actor);
  void send(Message message);

  // An actor of this node has ended. The future, if there is one, is done when its name is free.
  std::optional<Future<void>> cell_ended(ActorCell& cell);
  void end_children(ActorCell& cell);
  void child_ended(ActorId owner, ActorId child, const RemoteError& cause, bool escalate);
  // Ends an actor on any node.
  void end_actor(ActorId actor, int node, bool may_move, const RemoteError& cause);

  // What has become of other nodes and their actors.
  void node_lost(int node, const std::string& why);
  void actor_moved(ActorId id, int node);
  void actor_lost(ActorId id, const RemoteError& cause);
  // Actors that are not where they were made.
  void set_moved(const std::map<ActorId, int>& moved);

  [[nodiscard]] std::vector<std::shared_ptr<ActorCell>> cells() const;
  [[nodiscard]] std::vector<ActorInfo> describe() const;
  // Calls of the program of this node that wait for an answer (not those of its actors).
  [[nodiscard]] std::vector<ActorCell::Wait> program_waits() const;
  void add_program_wait(const FutureBase* future);
  void remove_program_wait(const FutureBase* future);

  // All calls that are out fail, and so does every new one; actors are told to end. Then waits until
  // none runs; false when the deadline came first.
  // A node that leaves a job which goes on refuses no call of the others from then on: its loss tells
  // them, which sends to another what may be sent again.
  bool stop_actors(Scheduler::Clock::time_point deadline, bool leaves = false);
  // What still runs: "actor stage/3, method run_step, for 12 s".
  [[nodiscard]] std::vector<std::string> still_running() const;
  void fail_all(const RemoteError& error);
  [[nodiscard]] bool stopping() const { return stopping_; }
  [[nodiscard]] bool leaving() const { return leaving_; }

 private:
  struct Pending {
    boost::intrusive_ptr<FutureBase> future;
    int node = 0;
    int retries = 0;
    std::optional<Message> message;  // to be sent again
    std::vector<ObjectHold> objects{};  // that the call refers to
  };

  void receive_call(IncomingCall incoming);
  void deliver(ActorCell& cell, IncomingCall incoming);
  // Takes a cancelled call out of those that came early; false when it is not among them.
  bool forget_early(int caller, const Header& header);
  void receive_reply(const Header& header, const Message& message, std::size_t result_at);
  // Takes a call out of those that wait for an answer: what it holds is let go of without the mutex.
  [[nodiscard]] std::optional<Pending> take_pending(std::uint64_t request);
  void settle_pending(std::uint64_t request, ReplyStatus status, RemoteError error);
  // Sends a pending call. When that fails so does the call, unless it waits for another node by now.
  void send_pending(std::uint64_t request, Message message);
  // Asks the directory what has become of an actor whose node was lost.
  void locate(ActorId actor);
  [[nodiscard]] bool is_system(ActorId id) const { return number_of(id) < kFirstActor; }

  ActorSystem& system_;
  Transport& transport_;
  Scheduler& scheduler_;
  const int node_;
  const std::shared_ptr<ObjectStore> objects_;
  std::atomic<std::uint64_t> next_actor_ = kFirstActor;
  std::atomic<std::uint64_t> next_request_ = 1;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> leaving_ = false;

  // A reference may be let go of after the node is gone: the last one finds the table still.
  struct HandleTable {
    AdaptiveMutex mutex;
    std::unordered_map<ActorId, std::weak_ptr<ActorHandle>> handles;
  };
  static void forget_handle(HandleTable& table, ActorId id);
  const std::shared_ptr<HandleTable> table_ = std::make_shared<HandleTable>();
  AdaptiveMutex& handles_mutex_ = table_->mutex;
  std::unordered_map<ActorId, std::weak_ptr<ActorHandle>>& handles_ = table_->handles;
  std::set<int> lost_nodes_;
  std::map<ActorId, int> moved_;

  mutable AdaptiveMutex cells_mutex_;
  std::unordered_map<ActorId, std::shared_ptr<ActorCell>> cells_;
  // Calls of actors that are not here, in order of arrival, until the agent has done what it was asked
  // before: the message that makes the actor may be among that, while another thread runs the agent.
  std::unordered_map<ActorId, std::deque<IncomingCall>> early_;
  std::deque<std::shared_ptr<ActorCell>> dead_;  // the last, for what they died of

  AdaptiveMutex pending_mutex_;
  std::unordered_map<std::uint64_t, Pending> pending_;

  mutable AdaptiveMutex waits_mutex_;
  std::map<const FutureBase*, Scheduler::Clock::time_point> program_waits_;
};

}  // namespace detail
}  // namespace desta::runtime
