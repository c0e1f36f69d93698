#include "runtime/collectives/operation_queue.h"

#include <exception>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::runtime {

struct OperationQueue::Task {
  explicit Task(std::function<void()> action) : action(std::move(action)) {}

  void finish(std::exception_ptr thrown) {
    const std::lock_guard lock(mutex);
    finished = true;
    failure = std::move(thrown);
    changed.notify_all();
  }

  std::function<void()> action;
  std::mutex mutex;
  std::condition_variable changed;
  bool finished = false;
  std::exception_ptr failure;
};

class OperationQueue::TaskWork : public Work {
 public:
  explicit TaskWork(std::shared_ptr<Task> task) : task_(std::move(task)) {}
  ~TaskWork() override {
    try {
      if (!waited_) {
        wait();
      }
    } catch (const Error& error) {
      log().error("{}", error.what());
    }
  }
  TaskWork(const TaskWork&) = delete;
  TaskWork& operator=(const TaskWork&) = delete;

  [[nodiscard]] bool done() override {
    const std::lock_guard lock(task_->mutex);
    return task_->finished;
  }
  void wait() override {
    waited_ = true;
    std::unique_lock lock(task_->mutex);
    task_->changed.wait(lock, [this] { return task_->finished; });
    if (task_->failure != nullptr) {
      std::rethrow_exception(task_->failure);
    }
  }

 private:
  const std::shared_ptr<Task> task_;
  bool waited_ = false;
};

OperationQueue::~OperationQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool OperationQueue::enter() {
  const std::lock_guard lock(mutex_);
  if (busy_ || !tasks_.empty()) {
    return false;
  }
  busy_ = true;
  return true;
}

void OperationQueue::leave() {
  const std::lock_guard lock(mutex_);
  busy_ = false;
  if (!tasks_.empty()) {
    changed_.notify_all();
  }
}

std::unique_ptr<Work> OperationQueue::start(std::function<void()> action) {
  auto task = std::make_shared<Task>(std::move(action));
  const std::lock_guard lock(mutex_);
  tasks_.push_back(task);
  if (!thread_.joinable()) {
    thread_ = std::thread([this] { serve(); });
  }
  changed_.notify_all();
  return std::make_unique<TaskWork>(std::move(task));
}

void OperationQueue::serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock,
                  [this] { return (!tasks_.empty() && !busy_) || (ending_ && tasks_.empty()); });
    if (tasks_.empty()) {
      return;
    }
    const std::shared_ptr<Task> task = std::move(tasks_.front());
    tasks_.pop_front();
    busy_ = true;
    lock.unlock();
    std::exception_ptr failure;
    try {
      task->action();
    } catch (...) {
      failure = std::current_exception();
    }
    task->action = nullptr;
    task->finish(failure);
    lock.lock();
    busy_ = false;
  }
}

}  // namespace desta::runtime
