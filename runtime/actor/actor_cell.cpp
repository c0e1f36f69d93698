#include "runtime/actor/actor_cell.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "runtime/actor/actor_system.h"
#include "runtime/actor/node_core.h"
#include "runtime/core/log.h"

namespace desta::runtime {
namespace detail {
namespace {

// Calls that an activation serves before others get their turn.
constexpr int kBatch = 64;

thread_local Activation activation;

class ActivationScope {
 public:
  ActivationScope(ActorCell& cell, Lane& lane) : previous_(activation) {
    activation = {&cell, &lane, nullptr};
  }
  ~ActivationScope() { activation = previous_; }
  ActivationScope(const ActivationScope&) = delete;
  ActivationScope& operator=(const ActivationScope&) = delete;

 private:
  Activation previous_;
};

}  // namespace

Activation& current_activation() { return activation; }

RemoteError describe_failure(const ActorCell& cell, const Call& call) {
  return describe_current_exception(cell.name(), call.method->name);
}

void finish_call(ActorCell& cell, Call& call) noexcept { cell.finish(call); }

void Lane::activate() { cell_->activate(*this); }

ActorCell::ActorCell(NodeCore& core, SpawnRequest request, const ActorType& type)
    : core_(core),
      arguments_{std::move(request.arguments), std::move(request.buffers),
                 std::move(request.objects)},
      request_(std::move(request)),
      type_(type),
      context_{core.system(), request_.address.name, request_.address.id},
      restarts_(request_.restarts) {
  default_lane_.cell_ = this;
  default_lane_.limits_ = type.groups.front().limits;
  for (std::size_t group = 1; group < type.groups.size(); ++group) {
    auto& lane = further_lanes_.emplace_back(std::make_unique<Lane>());
    lane->cell_ = this;
    lane->limits_ = type.groups[group].limits;
  }
}

ActorCell::~ActorCell() = default;

void ActorCell::start(std::shared_ptr<void> object) {
  if (object != nullptr) {
    object_ = std::move(object);
    open_gate();
    return;
  }
  bool schedule_it = false;
  {
    const std::lock_guard lock(mutex_);
    if (end_due_) {
      return;  // it was ended before it began
    }
    construct_due_ = true;
    schedule_it = request_activation(default_lane_);
  }
  if (schedule_it) {
    schedule(default_lane_);
  }
}

bool ActorCell::request_activation(Lane& lane) {
  if (lane.activations_ >= lane.limits_.threads) {
    return false;
  }
  if (lane.activations_++ == 0) {
    lane.keep_ = shared_from_this();
  }
  return true;
}

Lane& ActorCell::lane_of(const Call& call) {
  const std::size_t group = call.method->group;
  return group == 0 ? default_lane_ : *further_lanes_[group - 1];
}

void ActorCell::schedule(Lane& lane) {
  if (request_.runs_in_place) {
    lane.activate();
  } else {
    core_.scheduler().schedule(lane);
  }
}

void ActorCell::enqueue(Call& call) {
  Lane& lane = lane_of(call);
  bool schedule_it = false;
  std::optional<RemoteError> refusal;
  {
    const std::lock_guard lock(mutex_);
    if (end_due_) {
      refusal = death_;
    } else {
      call.next = nullptr;
      (lane.tail_ == nullptr ? lane.head_ : lane.tail_->next) = &call;
      lane.tail_ = &call;
      ++waiting_;
      schedule_it = gate_open_ &&
                    lane.running_.size() < static_cast<std::size_t>(lane.limits_.calls) &&
                    request_activation(lane);
    }
  }
  if (refusal.has_value()) {
    call.next = nullptr;
    refuse_all(&call);
  } else if (schedule_it) {
    schedule(lane);
  }
}

template <typename Step>
void ActorCell::traced(const Call* call, const Step& step) {
  Trace* const trace = core_.options().trace;
  if (trace == nullptr || !trace->enabled() || call == nullptr) {
    step();
    return;
  }
  const Trace::Span span(*trace, fmt::format("{}.{}", name(), call->method->name), type_.name);
  step();
}

void ActorCell::activate(Lane& lane) {
  std::shared_ptr<ActorCell> keep;  // let go of last
  const ActivationScope scope(*this, lane);
  for (int served = 0;; ++served) {
    enum class Step { kConstruct, kSettle, kYield, kResume, kBegin } step{};
    Lane::Resumption resumption{};
    Call* call = nullptr;
    {
      const std::lock_guard lock(mutex_);
      const bool may_begin = gate_open_ && lane.head_ != nullptr &&
                             lane.running_.size() < static_cast<std::size_t>(lane.limits_.calls);
      if (construct_due_ && &lane == &default_lane_) {
        construct_due_ = false;
        ++busy_;
        step = Step::kConstruct;
      } else if (settle_due_ && &lane == &default_lane_) {
        settle_due_ = false;
        ++busy_;
        step = Step::kSettle;
      } else if (lane.resumptions_.empty() && !may_begin) {
        if (--lane.activations_ == 0) {
          keep = std::move(lane.keep_);
        }
        return;
      } else if (served >= kBatch) {
        step = Step::kYield;
      } else if (!lane.resumptions_.empty()) {
        resumption = lane.take_resumption();
        if (resumption.call != nullptr) {
          resumption.call->waits_for = nullptr;
        }
        step = Step::kResume;
      } else {
        call = lane.head_;
        lane.head_ = call->next;
        if (lane.head_ == nullptr) {
          lane.tail_ = nullptr;
        }
        --waiting_;
        ++busy_;
        lane.running_.push_back(call);
        call->started = core_.scheduler().now();
        state_ = ActorState::kBusy;
        step = Step::kBegin;
      }
    }
    switch (step) {
      case Step::kConstruct:
        construct();
        break;
      case Step::kSettle:
        settle();
        break;
      case Step::kYield:
        // To the pool in any case: a caller that serves an actor in place must not do so for ever.
        core_.scheduler().schedule(lane);
        return;
      case Step::kResume:
        activation.call = resumption.call;
        traced(resumption.call, [&] { resumption.coroutine.resume(); });
        break;
      case Step::kBegin:
        activation.call = call;
        traced(call, [&] { call->execute(object_.get(), *this); });
        break;
    }
    activation.call = nullptr;
  }
}

void ActorCell::construct() {
  std::optional<RemoteError> failure;
  try {
    WireReader reader(arguments_.bytes, arguments_.buffers, core_.system());
    object_ = type_.construct(reader);
  } catch (...) {
    failure = describe_current_exception(name(), "constructor");
    object_.reset();
  }
  bool settle_it = false;
  Call* waiting = nullptr;
  {
    const std::lock_guard lock(mutex_);
    --busy_;
    if (failure.has_value() && !end_due_) {
      if (restarts_ == 0) {
        failure->message = fmt::format("the actor died in its constructor: {}", failure->message);
        death_ = *failure;
        failed_ = true;
        end_due_ = true;
        state_ = ActorState::kDead;
        log().error("actor {}: {}", name(), failure->message);
      } else {
        decide_fate(*failure);
      }
    }
    if (end_due_) {
      waiting = take_waiting();
    }
    settle_it = request_settling();
  }
  refuse_all(waiting);
  if (settle_it) {
    schedule(default_lane_);
  }
  if (!failure.has_value()) {
    open_gate();
  }
}

void ActorCell::open_gate() {
  std::vector<Lane*> lanes;
  {
    const std::lock_guard lock(mutex_);
    if (end_due_ || restart_due_) {
      return;
    }
    gate_open_ = true;
    state_ = ActorState::kIdle;
    for_each_lane([&](Lane& lane) {
      for (Call* call = lane.head_; call != nullptr && request_activation(lane);
           call = call->next) {
        lanes.push_back(&lane);  // a thread for each, as far as they go
      }
    });
  }
  for (Lane* lane : lanes) {
    schedule(*lane);
  }
}

void ActorCell::finish(Call& call) noexcept {
  const bool failed = call.failure.has_value();
  bool settle_it = false;
  Call* waiting = nullptr;
  Call* answered = nullptr;
  {
    const std::lock_guard lock(mutex_);
    std::erase(lane_of(call).running_, &call);
    --busy_;
    if (call.method->number > kTerminateMethod) {
      ++calls_;
    }
    failures_ += failed ? 1 : 0;
    if (failed && request_.options.max_restarts != 0 && !restart_due_ && !end_due_) {
      decide_fate(*call.failure);
    }
    if (end_due_) {
      waiting = take_waiting();
    }
    if (call.method->number == kTerminateMethod) {
      call.next = std::exchange(enders_, &call);
    } else {
      answered = &call;
    }
    if (busy_ == 0 && state_ == ActorState::kBusy) {
      state_ = ActorState::kIdle;
    }
    settle_it = request_settling();
  }
  refuse_all(waiting);
  if (answered != nullptr) {
    try {
      answered->answer();
    } catch (...) {
      answered->refuse(ReplyStatus::kFailed,
                       describe_current_exception(name(), answered->method->name));
    }
    answered->release();
  }
  if (settle_it) {
    schedule(default_lane_);
  }
}

Call* ActorCell::take_waiting_if(Lane& lane, const std::function<bool(const Call&)>& wanted) {
  Call* previous = nullptr;
  for (Call* call = lane.head_; call != nullptr; previous = call, call = call->next) {
    if (wanted(*call)) {
      (previous == nullptr ? lane.head_ : previous->next) = call->next;
      if (lane.tail_ == call) {
        lane.tail_ = previous;
      }
      --waiting_;
      return call;
    }
  }
  return nullptr;
}

void ActorCell::cancel(const std::function<bool(const Call&)>& wanted) {
  Call* found = nullptr;
  {
    const std::lock_guard lock(mutex_);
    for_each_lane([&](Lane& lane) {
      found = found != nullptr ? found : take_waiting_if(lane, wanted);
      for (Call* call : lane.running_) {
        if (wanted(*call)) {
          call->cancelled = true;
        }
      }
    });
  }
  if (found != nullptr) {
    found->refuse(ReplyStatus::kCancelled, {ErrorKind::kInternal, "", "the call was cancelled",
                                            name(), found->method->name});
    found->release();
  }
}

void ActorCell::cancel(const Call* call) {
  cancel([call](const Call& other) { return &other == call; });
}

void ActorCell::cancel(int node, std::uint64_t request) {
  cancel([=](const Call& call) { return call.request == request && call.caller.node == node; });
}

void ActorCell::add_child(Child child) {
  const std::lock_guard lock(mutex_);
  children_.push_back(child);
}

void ActorCell::remove_child(ActorId id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(children_, [id](const Child& child) { return child.id == id; });
}

std::vector<Child> ActorCell::take_children() {
  const std::lock_guard lock(mutex_);
  return std::exchange(children_, {});
}

ActorInfo ActorCell::describe() const {
  const std::lock_guard lock(mutex_);
  ActorInfo info;
  info.name = name();
  info.type = type_.name;
  info.node = core_.node();
  info.state = state_;
  info.calls = calls_;
  info.failures = failures_;
  info.restarts = restarts_;
  info.owner = request_.owner_name;
  if (end_due_) {
    info.death_cause = death_.message;
  }
  const auto now = core_.scheduler().now();
  info.pending = waiting_;
  for_each_lane([&](const Lane& lane) {
    info.pending += lane.running_.size();
    for (const Call* call : lane.running_) {
      const double seconds = std::chrono::duration<double>(now - call->started).count();
      if (info.running.empty() || seconds > info.running_seconds) {
        info.running = call->method->name;
        info.running_seconds = seconds;
      }
    }
  });
  return info;
}

bool ActorCell::at_rest() const {
  const std::lock_guard lock(mutex_);
  return busy_ == 0 && !settle_due_;
}

RemoteError ActorCell::death() const {
  const std::lock_guard lock(mutex_);
  return death_;
}

bool ActorCell::has_failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

std::vector<ActorCell::Wait> ActorCell::waits() const {
  const std::lock_guard lock(mutex_);
  std::vector<Wait> found;
  const auto now = core_.scheduler().now();
  for_each_lane([&](const Lane& lane) {
    for (const Call* call : lane.running_) {
      Wait wait{call->method->name, std::chrono::duration<double>(now - call->started).count(), 0, 0,
                "", ""};
      if (call->waits_for != nullptr && call->waits_for->handle() != nullptr) {
        wait.for_actor = call->waits_for->handle()->address.id;
        wait.for_node = call->waits_for->handle()->node;
        wait.for_name = call->waits_for->actor_name();
        wait.for_method = call->waits_for->method_name();
      }
      found.push_back(std::move(wait));
    }
  });
  return found;
}

void ActorCell::set_waiting(Call& call, const FutureBase* future) {
  const std::lock_guard lock(mutex_);
  call.waits_for = future;
}

void ActorCell::resume_later(Lane& lane, Call* call, std::coroutine_handle<> coroutine) {
  bool schedule_it = false;
  {
    const std::lock_guard lock(mutex_);
    lane.resumptions_.push_back({coroutine, call});
    schedule_it = request_activation(lane);
  }
  if (schedule_it) {
    schedule(lane);
  }
}

}  // namespace detail

const ActorContext& current_actor() {
  const detail::Activation& here = detail::current_activation();
  if (here.cell == nullptr) {
    throw InternalError("current_actor() was asked outside of an actor");
  }
  return here.cell->context();
}

ActorSystem& current_system() { return *current_actor().system; }

bool call_is_cancelled() {
  const detail::Activation& here = detail::current_activation();
  return here.call != nullptr && here.call->cancelled;
}

}  // namespace desta::runtime
