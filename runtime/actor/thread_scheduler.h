// Runs actors on a pool of threads. Private to this folder.
//
// A thread that finds nothing to do looks on for a moment (SpinTime), at the transport too, and then
// sleeps. What an actor calls from the pool waits in its own thread's slot, to run next where its
// data is warm, unless another thread is idle and takes it. When threads of the pool block in a
// wait, or stay in one method while others have no turn, more are added.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/actor/own_thread.h"
#include "runtime/actor/run_queue.h"
#include "runtime/actor/scheduler.h"

namespace desta::runtime::detail {

class ThreadScheduler final : public Scheduler {
 public:
  // `threads`: that run actors at a time, not counting those that block. `spin`: how long a thread
  // looks for work, or for its answer, before it sleeps.
  ThreadScheduler(int threads, std::chrono::nanoseconds spin);
  ~ThreadScheduler() override;

  void start(Transport& transport) override;
  [[nodiscard]] bool stop() override;
  [[nodiscard]] std::shared_ptr<void> make_thread(const std::string& name) override;
  void schedule(Lane& lane) override;
  void after(std::chrono::nanoseconds delay, std::function<void()> action) override;
  [[nodiscard]] Clock::time_point now() const override { return Clock::now(); }
  [[nodiscard]] bool wait(std::span<FutureBase* const> futures, Deadline deadline) override;
  [[nodiscard]] bool wait_until(const std::function<bool()>& condition, Deadline deadline) override;

 private:
  struct Worker;
  class Blocked;

  void run(Worker& self);
  void run_timers();
  [[nodiscard]] Lane* find_work(Worker& self);
  [[nodiscard]] Lane* look_on(Worker& self);
  [[nodiscard]] Lane* pop();
  [[nodiscard]] Lane* steal(Clock::time_point now);
  [[nodiscard]] bool sleep(Worker& self);
  [[nodiscard]] bool sleep_at_transport(std::unique_lock<std::mutex>& lock);
  void push(Lane& lane);
  void wake_one();
  void watch_for_starvation();
  // With the mutex held.
  void add_worker();

  const int threads_;
  const std::chrono::nanoseconds spin_;
  Transport* transport_ = nullptr;

  std::mutex mutex_;
  std::condition_variable wake_;
  RunQueue queue_;
  std::vector<std::unique_ptr<Worker>> workers_;  // never erased while others may look at them
  std::vector<std::shared_ptr<OwnThread>> own_threads_;
  int wakeups_ = 0;  // that sleepers have not taken yet
  std::atomic<bool> watching_ = false;
  std::atomic<int> running_ = 0;  // workers that have not ended
  std::atomic<int> sleeping_ = 0;
  std::atomic<int> blocked_ = 0;
  std::atomic<int> looking_ = 0;
  std::atomic<int> at_transport_ = 0;  // of those that sleep, the one that a message wakes
  std::atomic<bool> stopping_ = false;
  std::atomic<std::size_t> worker_count_ = 0;  // of workers_, for a look without the mutex
  static constexpr std::size_t kMostWorkers = 512;
  std::array<std::atomic<Worker*>, kMostWorkers> known_workers_{};

  std::mutex timers_mutex_;
  std::condition_variable timers_changed_;
  std::multimap<Clock::time_point, std::function<void()>> timers_;
  std::thread timer_thread_;
};

}  // namespace desta::runtime::detail
