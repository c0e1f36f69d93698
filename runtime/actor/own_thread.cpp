#include "runtime/actor/own_thread.h"

#include <pthread.h>

#include <utility>

#include "runtime/actor/actor_cell.h"

namespace desta::runtime::detail {

void name_this_thread(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

OwnThread::OwnThread(std::string name)
    : thread_([this, name = std::move(name)] { run(name); }) {}

OwnThread::~OwnThread() { (void)end(Clock::now()); }

void OwnThread::push(Lane& lane) {
  {
    const std::lock_guard lock(mutex_);
    due_.push_back(&lane);
  }
  wake_.notify_one();
}

void OwnThread::quit() {
  {
    const std::lock_guard lock(mutex_);
    quit_ = true;
  }
  wake_.notify_one();
}

bool OwnThread::end(Clock::time_point deadline) {
  if (!thread_.joinable()) {
    return true;
  }
  quit();
  while (!ended_ && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (!ended_) {
    thread_.detach();
    return false;
  }
  thread_.join();
  return true;
}

void OwnThread::run(const std::string& name) {
  name_this_thread(name);
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return quit_ || !due_.empty(); });
    if (due_.empty()) {
      break;
    }
    Lane* lane = due_.front();
    due_.pop_front();
    lock.unlock();
    lane->activate();
    lock.lock();
  }
  ended_ = true;
}

}  // namespace desta::runtime::detail
