// The answer to a call, now or later.
//
//   Future<int> sum = ref.call<&Counter::add>(2);
//   int now = sum.get();                       // blocks this thread
//   int soon = co_await sum;                   // in a method that returns Task<...>: frees it
//   Future<std::string> text = sum.then([](int value) { return std::to_string(value); });
#pragma once

#include <atomic>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/actor/actor_handle.h"
#include "runtime/actor/errors.h"
#include "runtime/actor/scheduler.h"
#include "runtime/core/adaptive_mutex.h"
#include "runtime/core/wire.h"

namespace desta::runtime {
namespace detail {

class Call;
struct MethodEntry;

// What a Future shares with the call that will fulfil it.
class FutureBase : public boost::intrusive_ref_counter<FutureBase> {
 public:
  // `handle` and `method` say who owes the answer; null for a future made by then().
  FutureBase(Scheduler& scheduler, std::shared_ptr<ActorHandle> handle, const MethodEntry* method)
      : scheduler_(scheduler), handle_(std::move(handle)), method_(method) {}
  FutureBase(const FutureBase&) = delete;
  FutureBase& operator=(const FutureBase&) = delete;
  virtual ~FutureBase() = default;

  [[nodiscard]] bool done() const { return state_.load(std::memory_order_acquire) == kDone; }
  // Empty while it is not done or when it has succeeded.
  [[nodiscard]] const RemoteError* error() const { return done() ? error_.get() : nullptr; }
  [[nodiscard]] Scheduler& scheduler() const { return scheduler_; }
  [[nodiscard]] const std::shared_ptr<ActorHandle>& handle() const { return handle_; }
  [[nodiscard]] const MethodEntry* method() const { return method_; }
  [[nodiscard]] const std::string& actor_name() const;
  [[nodiscard]] const std::string& method_name() const;

  // Calls `action` once, when done: at once, or on the thread that brings the answer. It must be
  // short and must not throw. Returns a number for forget(), 0 when it has been called already.
  std::uint64_t on_done(std::function<void()> action);
  void forget(std::uint64_t number);

  // The first to settle wins; returns false for all others. fail() settles and publishes.
  [[nodiscard]] bool claim();
  bool fail(ReplyStatus status, RemoteError error);
  // As another, which has failed.
  void fail_like(const FutureBase& other) { fail(other.status_, *other.error_); }
  // After claim(): makes the answer visible and wakes who waits.
  void publish();

  // Decodes a reply's result and publishes it; bytes that are no result fail the future.
  virtual void fulfil(WireReader& result) = 0;

  // The call itself, where it is one of this node; null otherwise.
  [[nodiscard]] virtual Call* as_call() { return nullptr; }

  // Waits until done; false when the deadline passed first. Throws InternalError when an actor
  // waits for an answer that only it could give.
  [[nodiscard]] bool wait(Scheduler::Deadline deadline);
  // Throws the error of a failed call.
  void check() const;
  [[noreturn]] void throw_timeout(std::chrono::nanoseconds timeout) const;
  void cancel();
  std::uint64_t request_number = 0;  // of a call to another node
  bool counted = false;              // among the handle's unanswered calls

 private:
  enum State : int { kPending, kClaimed, kDone };
  struct Watcher {
    std::uint64_t number;
    std::function<void()> action;
  };

  std::atomic<int> state_ = kPending;
  ReplyStatus status_ = ReplyStatus::kOk;
  Scheduler& scheduler_;
  std::shared_ptr<ActorHandle> handle_;
  const MethodEntry* method_;
  std::unique_ptr<RemoteError> error_;
  AdaptiveMutex mutex_;
  std::uint64_t next_watcher_ = 1;
  std::vector<Watcher> watchers_;
};

struct Nothing {};

template <typename R>
class FutureState : public FutureBase {
 public:
  using FutureBase::FutureBase;
  // Those who may still ask for the value: pointers of this type are counted apart from those of
  // the call that brings it.
  [[nodiscard]] bool has_one_reader() const {
    return readers_.load(std::memory_order_acquire) == 1;
  }
  friend void intrusive_ptr_add_ref(FutureState* state) {
    state->readers_.fetch_add(1, std::memory_order_relaxed);
    intrusive_ptr_add_ref(static_cast<FutureBase*>(state));
  }
  friend void intrusive_ptr_release(FutureState* state) {
    state->readers_.fetch_sub(1, std::memory_order_release);
    intrusive_ptr_release(static_cast<FutureBase*>(state));
  }
  using Stored = std::conditional_t<std::is_void_v<R>, Nothing, R>;

  // After claim().
  void set(Stored value) {
    value_.emplace(std::move(value));
    publish();
  }
  void fulfil(WireReader& result) override {
    Stored value{};
    try {
      if constexpr (!std::is_void_v<R>) {
        unpack_into(result, value);
      }
    } catch (...) {
      fail(ReplyStatus::kFailed, describe_current_exception(actor_name(), method_name()));
      return;
    }
    if (claim()) {
      set(std::move(value));
    }
  }
  [[nodiscard]] const Stored& value() const { return *value_; }
  [[nodiscard]] Stored& value() { return *value_; }

 private:
  std::optional<Stored> value_;
  std::atomic<int> readers_ = 0;
};

template <typename Function, typename R>
struct ThenResult {
  using type = std::decay_t<std::invoke_result_t<Function, const R&>>;
};
template <typename Function>
struct ThenResult<Function, void> {
  using type = std::decay_t<std::invoke_result_t<Function>>;
};

// How an actor's method resumes after co_await.
void resume_when_done(FutureBase& future, std::coroutine_handle<> coroutine);

[[nodiscard]] std::optional<std::size_t> find_done(std::span<FutureBase* const> futures);
[[nodiscard]] Scheduler::Deadline deadline_after(Scheduler& scheduler,
                                                 std::chrono::nanoseconds timeout);

}  // namespace detail

// Cheap to copy; copies share one answer. Must not outlive its ActorSystem.
template <typename R>
class [[nodiscard]] Future {
 public:
  using Result = R;
  explicit Future(boost::intrusive_ptr<detail::FutureState<R>> state) : state_(std::move(state)) {}

  [[nodiscard]] bool ready() const { return state_->done(); }

  // Blocks until the answer is there. Throws what the actor threw (runtime/actor/errors.h).
  R get() const& {
    (void)state_->wait(std::nullopt);
    return value();
  }
  // As above; throws TransportError when there is no answer in time. It may be asked again.
  R get(std::chrono::nanoseconds timeout) const& {
    if (!state_->wait(detail::deadline_after(state_->scheduler(), timeout))) {
      state_->throw_timeout(timeout);
    }
    return value();
  }
  // For `ref.call<...>(...).get()`: the result is moved out, not copied, where nobody else has it.
  R get() && {
    (void)state_->wait(std::nullopt);
    return take();
  }
  R get(std::chrono::nanoseconds timeout) && {
    if (!state_->wait(detail::deadline_after(state_->scheduler(), timeout))) {
      state_->throw_timeout(timeout);
    }
    return take();
  }

  // The error of a finished call; empty when it has succeeded or is not finished.
  [[nodiscard]] std::optional<RemoteError> error() const {
    const RemoteError* error = state_->error();
    return error == nullptr ? std::nullopt : std::optional(*error);
  }

  // The future of what `function` makes of the result. It runs when the result is there, on the
  // thread that brings it (or here and now): it must be short and must not wait. An error of the
  // call, or of `function`, becomes the new future's.
  template <typename Function>
  auto then(Function function) const;

  // The call fails with CallCancelled at once, and its actor is told: if it waits in the mailbox then
  // it never runs; if it runs, its method sees call_is_cancelled() and its result is thrown away. No
  // effect when done.
  void cancel() const { state_->cancel(); }

  [[nodiscard]] detail::FutureState<R>& state() const { return *state_; }

  // For co_await inside an actor's method: the actor's thread serves others meanwhile, the actor
  // itself stays in this call.
  auto operator co_await() const& { return Awaiter{*this}; }
  auto operator co_await() && { return Awaiter{std::move(*this)}; }

 private:
  struct Awaiter {
    Future future;
    [[nodiscard]] bool await_ready() const { return future.ready(); }
    void await_suspend(std::coroutine_handle<> coroutine) {
      detail::resume_when_done(*future.state_, coroutine);
    }
    R await_resume() { return future.take(); }
  };

  R value() const {
    state_->check();
    if constexpr (!std::is_void_v<R>) {
      return state_->value();
    }
  }
  R take() {
    state_->check();
    if constexpr (!std::is_void_v<R>) {
      if (state_->has_one_reader()) {
        return std::move(state_->value());
      }
      return state_->value();
    }
  }

  boost::intrusive_ptr<detail::FutureState<R>> state_;
};

template <typename R>
template <typename Function>
auto Future<R>::then(Function function) const {
  auto apply = [function = std::move(function)](detail::FutureState<R>& done) mutable {
    if constexpr (std::is_void_v<R>) {
      return function();
    } else {
      return function(std::as_const(done.value()));
    }
  };
  using S = typename detail::ThenResult<Function, R>::type;
  boost::intrusive_ptr<detail::FutureState<S>> next(
      new detail::FutureState<S>(state_->scheduler(), nullptr, nullptr));
  state_->on_done([done = state_, next, apply]() mutable {
    if (done->error() != nullptr) {
      next->fail_like(*done);
      return;
    }
    try {
      if constexpr (std::is_void_v<S>) {
        apply(*done);
        if (next->claim()) {
          next->set({});
        }
      } else {
        auto value = apply(*done);
        if (next->claim()) {
          next->set(std::move(value));
        }
      }
    } catch (...) {
      next->fail(detail::ReplyStatus::kFailed,
                 detail::describe_current_exception(done->actor_name(), done->method_name()));
    }
  });
  return Future<S>(std::move(next));
}

enum class WaitFor { kAny, kAll };

// Blocks until any, or all, of the futures (a vector, a span) are done; false when `timeout` passed
// first. Does not look whether they failed.
template <std::ranges::sized_range Futures>
bool wait(const Futures& futures, WaitFor what,
          std::optional<std::chrono::nanoseconds> timeout = std::nullopt);

// Blocks until one of the futures is done and returns its index. Throws InternalError for none.
template <std::ranges::sized_range Futures>
[[nodiscard]] std::size_t wait_any(const Futures& futures);

// Blocks until all are done. Throws the first error as soon as it arrives, without waiting for
// the others, which may be waiting for the one that failed.
template <std::ranges::sized_range Futures>
void wait_all(const Futures& futures);

// The results of all, in order; errors as for wait_all.
template <std::ranges::sized_range Futures>
[[nodiscard]] auto get_all(const Futures& futures) {
  wait_all(futures);
  std::vector<typename std::ranges::range_value_t<Futures>::Result> results;
  results.reserve(std::ranges::size(futures));
  for (const auto& future : futures) {
    results.push_back(future.get());
  }
  return results;
}

namespace detail {

template <typename Futures>
std::vector<FutureBase*> states_of(const Futures& futures) {
  std::vector<FutureBase*> states;
  states.reserve(std::ranges::size(futures));
  for (const auto& future : futures) {
    states.push_back(&future.state());
  }
  return states;
}
[[nodiscard]] bool wait(std::vector<FutureBase*> states, WaitFor what,
                        std::optional<std::chrono::nanoseconds> timeout);
[[nodiscard]] std::size_t wait_any(const std::vector<FutureBase*>& states);
void wait_all(std::vector<FutureBase*> states);

}  // namespace detail

template <std::ranges::sized_range Futures>
bool wait(const Futures& futures, WaitFor what, std::optional<std::chrono::nanoseconds> timeout) {
  return detail::wait(detail::states_of(futures), what, timeout);
}
template <std::ranges::sized_range Futures>
std::size_t wait_any(const Futures& futures) {
  return detail::wait_any(detail::states_of(futures));
}
template <std::ranges::sized_range Futures>
void wait_all(const Futures& futures) {
  detail::wait_all(detail::states_of(futures));
}

}  // namespace desta::runtime
