// How an actor fails, starts anew and ends.
#include <algorithm>
#include <utility>

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/node_core.h"
#include "runtime/core/log.h"

namespace desta::runtime::detail {

// With the mutex held: when nothing runs and the actor is to restart or to end, has its default
// group's thread see to it, where its methods run. True when the scheduler must be told.
bool ActorCell::request_settling() {
  const bool due = end_due_ ? !ended_ : restart_due_ && !backing_off_;
  if (busy_ > 0 || !due || settle_due_) {
    return false;
  }
  settle_due_ = true;
  return request_activation(default_lane_);
}

// With the mutex held.
void ActorCell::decide_fate(const RemoteError& error) {
  const SpawnOptions& options = request_.options;
  const auto now = core_.scheduler().now();
  if (options.restart_window.count() > 0) {
    std::erase_if(recent_restarts_,
                  [&](const auto& then) { return then + options.restart_window < now; });
  }
  const std::uint64_t counted =
      options.restart_window.count() > 0 ? recent_restarts_.size() : restarts_;
  gate_open_ = false;
  death_ = error;
  if (options.max_restarts < 0 || counted < static_cast<std::uint64_t>(options.max_restarts)) {
    ++restarts_;
    if (options.restart_window.count() > 0) {
      recent_restarts_.push_back(now);
    }
    restart_due_ = true;
    state_ = ActorState::kRestarting;
    log().warn("actor {} starts anew after: {}", name(), error.message);
  } else {
    death_.message = fmt::format("the actor died in its {}: {}", error.method, error.message);
    failed_ = true;
    end_due_ = true;
    state_ = ActorState::kDead;
    log().error("actor {} died in its {}: {}", name(), error.method, error.message);
  }
}

// With the mutex held.
Call* ActorCell::take_waiting() {
  Call* first = nullptr;
  Call** end = &first;
  const auto take = [&](Lane& lane) {
    if (lane.head_ != nullptr) {
      *end = lane.head_;
      end = &lane.tail_->next;
      lane.head_ = lane.tail_ = nullptr;
    }
  };
  for_each_lane(take);
  waiting_ = 0;
  return first;
}

void ActorCell::refuse_all(Call* calls) {
  while (calls != nullptr) {
    Call* call = std::exchange(calls, calls->next);
    RemoteError error;
    {
      const std::lock_guard lock(mutex_);
      if (call->method->number == kTerminateMethod && !ended_) {
        call->next = std::exchange(enders_, call);
        continue;
      }
      error = death_;
    }
    if (call->method->number == kTerminateMethod) {
      call->answer();
    } else {
      error.method = call->method->name;
      call->refuse(death_status_, std::move(error));
    }
    call->release();
  }
}

void ActorCell::end(RemoteError cause, ReplyStatus status) {
  Call* waiting = nullptr;
  bool settle_it = false;
  {
    const std::lock_guard lock(mutex_);
    if (end_due_) {
      return;
    }
    end_due_ = true;
    restart_due_ = false;
    backing_off_ = false;
    construct_due_ = false;
    gate_open_ = false;
    state_ = ActorState::kDead;
    death_ = std::move(cause);
    death_status_ = status;
    waiting = take_waiting();
    for_each_lane([](Lane& lane) {
      for (Call* call : lane.running_) {
        call->cancelled = true;
      }
    });
    settle_it = request_settling();
  }
  refuse_all(waiting);
  if (settle_it) {
    schedule(default_lane_);
  }
}

void ActorCell::fail_with(const RemoteError& error) {
  bool settle_it = false;
  Call* waiting = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (end_due_ || restart_due_) {
      return;
    }
    ++failures_;
    decide_fate(error);
    if (end_due_) {
      waiting = take_waiting();
    }
    settle_it = request_settling();
  }
  refuse_all(waiting);
  if (settle_it) {
    schedule(default_lane_);
  }
}

// Nothing else runs, and the actor is to restart or to end.
void ActorCell::settle() {
  object_.reset();
  core_.end_children(*this);
  std::chrono::nanoseconds pause{};
  {
    const std::lock_guard lock(mutex_);
    if (restart_due_) {  // end() may have come meanwhile
      --busy_;
      backing_off_ = true;
      pause = restart_pause();
    }
  }
  if (pause.count() > 0) {
    core_.scheduler().after(pause, [self = shared_from_this()] { self->start_anew(); });
    return;
  }
  default_lane_.thread.reset();
  arguments_ = {};  // the cell may be remembered for long
  const auto told = core_.cell_ended(*this);
  Call* enders = nullptr;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    --busy_;
    enders = std::exchange(enders_, nullptr);
  }
  // Who asked for the end hears of it when it has come, and the name is free again.
  const auto answer = [self = shared_from_this(), enders] { self->refuse_all(enders); };
  if (told.has_value()) {
    told->state().on_done(answer);
  } else {
    answer();
  }
}

// With the mutex held.
std::chrono::nanoseconds ActorCell::restart_pause() const {
  const SpawnOptions& options = request_.options;
  const std::uint64_t restarts =
      options.restart_window.count() > 0 ? recent_restarts_.size() : restarts_;
  const std::uint64_t doublings = std::clamp<std::uint64_t>(restarts, 1, 21) - 1;
  const std::chrono::nanoseconds pause =
      std::min<std::chrono::nanoseconds>(options.restart_backoff * (1LL << doublings),
                                         options.max_restart_backoff);
  return std::max(pause, std::chrono::nanoseconds(1));
}

void ActorCell::start_anew() {
  {
    const std::lock_guard lock(mutex_);
    if (!backing_off_) {
      return;  // ended meanwhile
    }
    backing_off_ = false;
    restart_due_ = false;
    state_ = ActorState::kStarting;
  }
  start();
}

}  // namespace desta::runtime::detail
