// A coroutine that an actor's method may return, so that it can wait for other actors by co_await
// without holding a thread:
//
//   Task<int> Gatherer::total() {
//     int sum = 0;
//     for (auto& part : parts_) { sum += co_await part.call<&Part::count>(); }
//     co_return sum;
//   }
//
// The actor stays in this call until the coroutine returns: it serves one call at a time as always
// (other concurrency groups, and groups with more calls in flight, go on). A Task can await a Task.
#pragma once

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

namespace desta::runtime {

template <typename R>
class Task;

namespace detail {

class TaskPromiseBase {
 public:
  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
  [[nodiscard]] auto final_suspend() const noexcept {
    struct Awaiter {
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> self) noexcept {
        (void)self;
        if (promise.continuation_) {
          return promise.continuation_;
        }
        if (promise.on_end_) {
          // The coroutine may be destroyed by it: nothing of `this` is touched afterwards.
          const auto on_end = std::move(promise.on_end_);
          on_end();
        }
        return std::noop_coroutine();
      }
      void await_resume() const noexcept {}
      TaskPromiseBase& promise;
    };
    return Awaiter{const_cast<TaskPromiseBase&>(*this)};
  }
  void unhandled_exception() { error_ = std::current_exception(); }

  std::coroutine_handle<> continuation_;
  std::function<void()> on_end_;
  std::exception_ptr error_;
};

template <typename R>
class TaskPromise : public TaskPromiseBase {
 public:
  Task<R> get_return_object();
  template <typename Value>
  void return_value(Value&& value) {
    value_.emplace(std::forward<Value>(value));
  }
  R take() {
    if (error_) {
      std::rethrow_exception(error_);
    }
    return std::move(*value_);
  }

 private:
  std::optional<R> value_;
};

template <>
class TaskPromise<void> : public TaskPromiseBase {
 public:
  Task<void> get_return_object();
  void return_void() const {}
  void take() const {
    if (error_) {
      std::rethrow_exception(error_);
    }
  }
};

}  // namespace detail

template <typename R>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<R>;
  using Result = R;

  explicit Task(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}
  Task(Task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~Task() {
    if (coroutine_) {
      coroutine_.destroy();
    }
  }

  // For co_await in another Task: runs this one to its end first.
  auto operator co_await() && {
    struct Awaiter {
      std::coroutine_handle<promise_type> coroutine;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiter) {
        coroutine.promise().continuation_ = waiter;
        return coroutine;
      }
      R await_resume() { return coroutine.promise().take(); }
    };
    return Awaiter{coroutine_};
  }

  // For whoever runs tasks: begins, and calls `on_end` when it is over; then take() has the result
  // or throws the error. The task must live until then.
  void start(std::function<void()> on_end) {
    coroutine_.promise().on_end_ = std::move(on_end);
    coroutine_.resume();
  }
  R take() { return coroutine_.promise().take(); }

 private:
  std::coroutine_handle<promise_type> coroutine_;
};

namespace detail {

template <typename R>
Task<R> TaskPromise<R>::get_return_object() {
  return Task<R>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}
inline Task<void> TaskPromise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this));
}

// R for a method that returns R or Task<R>.
template <typename R>
struct Untasked {
  using type = R;
  static constexpr bool is_task = false;
};
template <typename R>
struct Untasked<Task<R>> {
  using type = R;
  static constexpr bool is_task = true;
};

}  // namespace detail
}  // namespace desta::runtime
