#include "runtime/actor/hang_watch.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "runtime/core/log.h"

namespace desta::runtime {

class HangWatch::Implementation {
 public:
  explicit Implementation(ActorSystem& system)
      : system_(system),
        // Soon enough after the limit, and no burden on a job of thousands of actors.
        interval_(std::clamp<std::chrono::seconds>(system.options().hang_after / 4,
                                                   std::chrono::seconds(1),
                                                   std::chrono::seconds(60))),
        thread_([this] { run(); }) {}

  ~Implementation() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, interval_, [this] { return ending_; })) {
      lock.unlock();
      look();
      lock.lock();
    }
  }

  void look() {
    try {
      const HangReport hang = system_.snapshot().hang;
      // The time at its end changes from look to look.
      const std::string culprit = hang.culprit.substr(0, hang.culprit.rfind(", for "));
      if (culprit.empty() || culprit == last_) {
        last_ = culprit;
        return;
      }
      last_ = culprit;
      log().warn("nothing moves because of {}", hang.culprit);
      for (const std::string& waiting : hang.waiting) {
        log().warn("  {}", waiting);
      }
    } catch (const Error& error) {
      log().warn("the nodes cannot be asked who waits for whom: {}", error.what());
    }
  }

  ActorSystem& system_;
  const std::chrono::seconds interval_;
  std::string last_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;
  std::thread thread_;
};

HangWatch::HangWatch(ActorSystem& system)
    : implementation_(std::make_unique<Implementation>(system)) {}

HangWatch::~HangWatch() = default;

}  // namespace desta::runtime
