// A thread that serves the lanes given to it, one after the other: for an actor that has a thread of
// its own. Private to this folder.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace desta::runtime::detail {

class Lane;

// Names the calling thread for debuggers and `top`; the kernel keeps 15 characters.
void name_this_thread(const std::string& name);

class OwnThread {
 public:
  using Clock = std::chrono::steady_clock;

  explicit OwnThread(std::string name);
  ~OwnThread();
  OwnThread(const OwnThread&) = delete;
  OwnThread& operator=(const OwnThread&) = delete;

  void push(Lane& lane);
  // It ends when nothing is due any more.
  void quit();
  [[nodiscard]] bool ended() const { return ended_; }
  // Waits for the end. False when it sits in a method beyond the deadline: it is then let go of.
  [[nodiscard]] bool end(Clock::time_point deadline);

 private:
  void run(const std::string& name);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Lane*> due_;
  bool quit_ = false;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace desta::runtime::detail
