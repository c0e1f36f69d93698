// Runs the collectives of a communicator one after the other, in the order in which they were
// given: blocking ones on the caller's thread where nothing is before them, all others on a thread
// that is made when it is first needed.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/collectives/communicator.h"

namespace desta::runtime {

class OperationQueue {
 public:
  OperationQueue() = default;
  // Runs what has been given.
  ~OperationQueue();
  OperationQueue(const OperationQueue&) = delete;
  OperationQueue& operator=(const OperationQueue&) = delete;

  // Returns when `action` has run; what it throws is thrown.
  template <typename Action>
  void run(Action&& action) {
    if (!enter()) {
      start(std::forward<Action>(action))->wait();
      return;
    }
    const Turn turn(*this);
    action();
  }

  // `action` runs on the queue's thread; Work::wait() throws what it throws.
  [[nodiscard]] std::unique_ptr<Work> start(std::function<void()> action);

 private:
  struct Turn {
    explicit Turn(OperationQueue& queue) : queue(queue) {}
    ~Turn() { queue.leave(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    OperationQueue& queue;
  };
  struct Task;
  class TaskWork;

  // True when nothing runs and nothing waits: the caller's action may run at once.
  [[nodiscard]] bool enter();
  void leave();
  void serve();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Task>> tasks_;
  bool busy_ = false;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace desta::runtime
