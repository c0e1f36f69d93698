#include "runtime/actor/future.h"

#include <algorithm>

#include "runtime/actor/actor_cell.h"
#include "runtime/actor/node_core.h"
#include "runtime/actor/registry.h"

namespace desta::runtime::detail {
namespace {

// While it lives, a report of a hang says that this thread's call, or program, waits for `future`.
class WaitNote {
 public:
  explicit WaitNote(const FutureBase& future) : future_(future), here_(current_activation()) {
    if (here_.call != nullptr) {
      here_.cell->set_waiting(*here_.call, &future);
    } else if (future.handle() != nullptr) {
      future.handle()->core.add_program_wait(&future);
    }
  }
  ~WaitNote() {
    if (here_.call != nullptr) {
      here_.cell->set_waiting(*here_.call, nullptr);
    } else if (future_.handle() != nullptr) {
      future_.handle()->core.remove_program_wait(&future_);
    }
  }
  WaitNote(const WaitNote&) = delete;
  WaitNote& operator=(const WaitNote&) = delete;

 private:
  const FutureBase& future_;
  const Activation here_;
};

// Throws when the method that runs here waits for one that its group cannot begin meanwhile: it is
// of the same actor and group, and `at_a_time` of these may go on together.
void check_not_self(const FutureBase& future, const MethodEntry* method,
                    int GroupLimits::*at_a_time) {
  const Activation& here = current_activation();
  if (here.call == nullptr || future.handle() == nullptr || method == nullptr || future.done() ||
      future.handle()->address.id != here.cell->id()) {
    return;
  }
  const std::size_t group = here.call->method->group;
  if (method->group == group && here.cell->type().groups[group].limits.*at_a_time == 1) {
    throw InternalError("actor {} waits for its own method {}, which can only start after it",
                        future.actor_name(), method->name);
  }
}

}  // namespace

const std::string& FutureBase::actor_name() const {
  static const std::string none = "(none)";
  return handle_ == nullptr ? none : handle_->address.name;
}

const std::string& FutureBase::method_name() const {
  static const std::string none = "then";
  return method_ == nullptr ? none : method_->name;
}

std::uint64_t FutureBase::on_done(std::function<void()> action) {
  {
    const std::lock_guard lock(mutex_);
    if (!done()) {
      watchers_.push_back({next_watcher_, std::move(action)});
      return next_watcher_++;
    }
  }
  action();
  return 0;
}

void FutureBase::forget(std::uint64_t number) {
  const std::lock_guard lock(mutex_);
  std::erase_if(watchers_, [number](const Watcher& watcher) { return watcher.number == number; });
}

bool FutureBase::claim() {
  int expected = kPending;
  return state_.compare_exchange_strong(expected, kClaimed, std::memory_order_acq_rel);
}

bool FutureBase::fail(ReplyStatus status, RemoteError error) {
  if (!claim()) {
    return false;
  }
  status_ = status;
  error_ = std::make_unique<RemoteError>(std::move(error));
  publish();
  return true;
}

void FutureBase::publish() {
  const boost::intrusive_ptr<FutureBase> keep(this);
  if (counted) {
    handle_->release();
  }
  std::vector<Watcher> watchers;
  {
    const std::lock_guard lock(mutex_);
    state_.store(kDone, std::memory_order_release);
    watchers.swap(watchers_);
  }
  for (const Watcher& watcher : watchers) {
    watcher.action();
  }
}

bool FutureBase::wait(Scheduler::Deadline deadline) {
  if (done()) {
    return true;
  }
  check_not_self(*this, method_, &GroupLimits::threads);
  const WaitNote note(*this);
  FutureBase* const self = this;
  return scheduler_.wait({&self, 1}, deadline);
}

void FutureBase::check() const {
  if (error_ != nullptr) {
    throw_remote(status_, *error_);
  }
}

void FutureBase::throw_timeout(std::chrono::nanoseconds timeout) const {
  throw TransportError("actor {} on node {} has not answered method {} within {} s", actor_name(),
                       handle_ == nullptr ? -1 : handle_->node.load(), method_name(),
                       std::chrono::duration<double>(timeout).count());
}

void FutureBase::cancel() {
  if (!fail(ReplyStatus::kCancelled, {ErrorKind::kInternal, "", "the call was cancelled",
                                      actor_name(), method_name()}) ||
      handle_ == nullptr) {
    return;
  }
  if (const Call* call = as_call(); call != nullptr) {
    handle_->local.load()->cancel(call);
  } else {
    handle_->core.cancel(*this);
  }
}

void resume_when_done(FutureBase& future, std::coroutine_handle<> coroutine) {
  const Activation here = current_activation();
  if (here.cell == nullptr) {
    future.on_done([coroutine] { coroutine.resume(); });
    return;
  }
  check_not_self(future, future.method(), &GroupLimits::calls);
  if (here.call != nullptr) {
    here.cell->set_waiting(*here.call, &future);
  }
  future.on_done([here, cell = here.cell->shared_from_this(), coroutine] {
    cell->resume_later(*here.lane, here.call, coroutine);
  });
}

std::optional<std::size_t> find_done(std::span<FutureBase* const> futures) {
  const auto found =
      std::ranges::find_if(futures, [](const FutureBase* future) { return future->done(); });
  if (found == futures.end()) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(found - futures.begin());
}

Scheduler::Deadline deadline_after(Scheduler& scheduler, std::chrono::nanoseconds timeout) {
  return scheduler.now() + timeout;
}

bool wait(std::vector<FutureBase*> states, WaitFor what,
          std::optional<std::chrono::nanoseconds> timeout) {
  if (states.empty()) {
    return what == WaitFor::kAll;
  }
  Scheduler& scheduler = states.front()->scheduler();
  const Scheduler::Deadline deadline =
      timeout.has_value() ? deadline_after(scheduler, *timeout) : std::nullopt;
  if (what == WaitFor::kAny) {
    return find_done(states).has_value() || scheduler.wait(states, deadline);
  }
  return std::ranges::all_of(states,
                             [&](FutureBase* state) { return state->wait(deadline); });
}

std::size_t wait_any(const std::vector<FutureBase*>& states) {
  if (states.empty()) {
    throw InternalError("wait_any was given no futures: it would wait for ever");
  }
  while (true) {
    if (const auto done = find_done(states); done.has_value()) {
      return *done;
    }
    const WaitNote note(*states.front());
    (void)states.front()->scheduler().wait(states, std::nullopt);
  }
}

void wait_all(std::vector<FutureBase*> states) {
  // Done when all are, or when the first has failed.
  class Gathering final : public FutureState<void> {
   public:
    Gathering(Scheduler& scheduler, std::size_t count)
        : FutureState<void>(scheduler, nullptr, nullptr), left_(count) {}
    void note(const FutureBase& future) {
      if ((future.error() != nullptr || --left_ == 0) && claim()) {
        set({});
      }
    }

   private:
    std::atomic<std::size_t> left_;
  };

  std::erase_if(states, [](FutureBase* state) {
    const bool done = state->done();
    if (done) {
      state->check();
    }
    return done;
  });
  if (states.empty()) {
    return;
  }
  const boost::intrusive_ptr<Gathering> gathering(
      new Gathering(states.front()->scheduler(), states.size()));
  for (FutureBase* state : states) {
    state->on_done([gathering, future = boost::intrusive_ptr<FutureBase>(state)] {
      gathering->note(*future);
    });
  }
  {
    const WaitNote note(*states.front());
    (void)gathering->wait(std::nullopt);
  }
  for (const FutureBase* state : states) {
    if (state->error() != nullptr) {
      state->check();
    }
  }
}

}  // namespace desta::runtime::detail
