// One actor on its node: the object, its mailboxes, its life and death. Private to this folder, but
// for what code inside an actor may ask.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "runtime/actor/call.h"
#include "runtime/actor/messages.h"
#include "runtime/actor/registry.h"
#include "runtime/actor/scheduler.h"
#include "runtime/actor/spawn_options.h"
#include "runtime/core/adaptive_mutex.h"

namespace desta::runtime {

class ActorSystem;

// Who runs on this thread.
struct ActorContext {
  ActorSystem* system = nullptr;
  std::string name;
  std::uint64_t id = 0;
};

// For code inside an actor's constructor or method: its own name and the system to call others.
// Throws InternalError outside of one.
[[nodiscard]] const ActorContext& current_actor();
// The system of the actor that runs here. Throws InternalError outside of one.
[[nodiscard]] ActorSystem& current_system();
// True when the caller of the method that runs here has cancelled the call, or the actor is to end:
// a long method looks now and then and returns early.
[[nodiscard]] bool call_is_cancelled();

namespace detail {

class NodeCore;

// Everything that makes an actor, on its way to its node and again after the loss of that.
struct SpawnRequest {
  ActorAddress address;
  SpawnOptions options;
  std::string signature;  // of the constructor
  std::string arguments;
  std::vector<Buffer> buffers;  // of the arguments
  std::vector<ObjectHold> objects;  // that the arguments refer to
  Caller owner;
  std::string owner_name;
  std::uint64_t restarts = 0;   // on nodes before this one
  bool runs_in_place = false;   // on the thread that brings the call: for the system's own actors

  template <class Archive>
  void serialize(Archive& archive) {
    archive(address, options, signature, arguments, buffers, objects, owner, owner_name,
            restarts);
  }
};

// A concurrency group of one actor. All but `limits_` and `thread` under the cell's mutex.
class Lane {
 public:
  // For the scheduler: serves calls for a while.
  void activate();

  std::shared_ptr<void> thread;  // the scheduler's own thread for it, if it has one

 private:
  friend class ActorCell;
  struct Resumption {
    std::coroutine_handle<> coroutine;
    Call* call;
  };
  [[nodiscard]] Resumption take_resumption() {
    const Resumption taken = resumptions_[resumed_++];
    // Half is gone at least: each one is moved once, on average.
    if (2 * resumed_ >= resumptions_.size()) {
      resumptions_.erase(resumptions_.begin(),
                         resumptions_.begin() + static_cast<std::ptrdiff_t>(resumed_));
      resumed_ = 0;
    }
    return taken;
  }

  ActorCell* cell_ = nullptr;
  GroupLimits limits_;
  Call* head_ = nullptr;  // waiting calls, oldest first
  Call* tail_ = nullptr;
  std::vector<Call*> running_;  // begun and not ended
  // Coroutines that may go on, from `resumed_` on: an empty deque would take 576 bytes of an idle actor.
  std::vector<Resumption> resumptions_;
  std::size_t resumed_ = 0;
  int activations_ = 0;              // asked of the scheduler, or on a thread
  std::shared_ptr<ActorCell> keep_;  // the cell itself, while there are activations
};

// An actor that another has spawned.
struct Child {
  ActorId id = 0;
  int node = 0;
  bool may_move = false;  // the directory knows where it is
};

class ActorCell : public std::enable_shared_from_this<ActorCell> {
 public:
  ActorCell(NodeCore& core, SpawnRequest request, const ActorType& type);
  ~ActorCell();
  ActorCell(const ActorCell&) = delete;
  ActorCell& operator=(const ActorCell&) = delete;

  // Before start().
  void give_thread(std::shared_ptr<void> thread) { default_lane_.thread = std::move(thread); }
  // Has the object made. With `object`, that one is used.
  void start(std::shared_ptr<void> object = nullptr);
  // Queues a call, or refuses it at once when the actor is dead.
  void enqueue(Call& call);
  // Takes a waiting call out, or marks a running one. For calls from elsewhere by node and number.
  void cancel(const Call* call);
  void cancel(int node, std::uint64_t request);
  // Calls that wait fail with this cause, those that run are marked cancelled and may finish, then
  // the object goes. Idempotent.
  void end(RemoteError cause, ReplyStatus status = ReplyStatus::kActorDied);
  // Its child has died for good, and that is a failure of this actor.
  void fail_with(const RemoteError& error);

  void add_child(Child child);
  void remove_child(ActorId child);
  [[nodiscard]] std::vector<Child> take_children();

  [[nodiscard]] const std::string& name() const { return context_.name; }
  [[nodiscard]] ActorId id() const { return context_.id; }
  [[nodiscard]] const ActorContext& context() const { return context_; }
  [[nodiscard]] const SpawnRequest& request() const { return request_; }
  [[nodiscard]] const ActorType& type() const { return type_; }
  [[nodiscard]] NodeCore& core() const { return core_; }
  [[nodiscard]] ActorInfo describe() const;
  // Nothing runs.
  [[nodiscard]] bool at_rest() const;
  // What it died of, and whether that was an error: not when it was asked to end.
  [[nodiscard]] RemoteError death() const;
  [[nodiscard]] bool has_failed() const;

  // A call that runs, and what it waits for: for the report of a hang.
  struct Wait {
    std::string method;
    double seconds = 0;
    ActorId for_actor = 0;  // 0: nothing
    int for_node = 0;
    std::string for_name;
    std::string for_method;
  };
  [[nodiscard]] std::vector<Wait> waits() const;

  // For calls.
  void finish(Call& call) noexcept;
  void set_waiting(Call& call, const FutureBase* future);
  void resume_later(Lane& lane, Call* call, std::coroutine_handle<> coroutine);

 private:
  friend class Lane;
  void activate(Lane& lane);
  // Runs a piece of a call, in the trace if there is one.
  template <typename Step>
  void traced(const Call* call, const Step& step);
  // With the mutex held: notes that the lane wants to run; true when the scheduler must be told.
  [[nodiscard]] bool request_activation(Lane& lane);
  [[nodiscard]] Lane& lane_of(const Call& call);
  void schedule(Lane& lane);
  void construct();
  void decide_fate(const RemoteError& error);
  [[nodiscard]] Call* take_waiting();
  [[nodiscard]] Call* take_waiting_if(Lane& lane, const std::function<bool(const Call&)>& wanted);
  void cancel(const std::function<bool(const Call&)>& wanted);
  void refuse_all(Call* calls);
  [[nodiscard]] bool request_settling();
  void settle();
  [[nodiscard]] std::chrono::nanoseconds restart_pause() const;
  void start_anew();
  void open_gate();
  template <typename Function>
  void for_each_lane(Function function) const {
    function(const_cast<Lane&>(default_lane_));
    for (const auto& lane : further_lanes_) {
      function(*lane);
    }
  }

  // What the object is made from; nothing when the actor has ended. On the default lane alone.
  struct Arguments {
    std::string bytes;
    std::vector<Buffer> buffers;
    std::vector<ObjectHold> objects;
  };

  NodeCore& core_;
  Arguments arguments_;
  const SpawnRequest request_;  // but for the arguments
  const ActorType& type_;
  const ActorContext context_;
  std::shared_ptr<void> object_;

  mutable AdaptiveMutex mutex_;
  ActorState state_ = ActorState::kStarting;
  bool gate_open_ = false;  // calls may begin
  bool construct_due_ = false;
  bool restart_due_ = false;
  bool end_due_ = false;
  bool settle_due_ = false;   // the default lane is to restart or end it
  bool backing_off_ = false;  // waits for its restart
  bool failed_ = false;       // ends because of an error
  bool ended_ = false;
  int busy_ = 0;  // calls that run, the constructor, the end
  Call* enders_ = nullptr;  // calls that asked for the end, answered when it has come
  RemoteError death_;
  ReplyStatus death_status_ = ReplyStatus::kActorDied;
  std::uint64_t calls_ = 0;
  std::uint64_t failures_ = 0;
  std::uint64_t waiting_ = 0;
  std::uint64_t restarts_ = 0;
  std::vector<Scheduler::Clock::time_point> recent_restarts_;
  std::vector<Child> children_;
  Lane default_lane_;
  std::vector<std::unique_ptr<Lane>> further_lanes_;  // by group, from the second
};

// Where the calling thread is; null outside of actors.
struct Activation {
  ActorCell* cell = nullptr;
  Lane* lane = nullptr;
  Call* call = nullptr;
};
[[nodiscard]] Activation& current_activation();

}  // namespace detail
}  // namespace desta::runtime
