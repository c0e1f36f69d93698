// The lanes that wait for a thread of the pool, oldest first. Private to this folder.
//
// A spin lock keeps it: a push or a pop takes some ten nanoseconds, and a mutex that put threads to
// sleep over that made 1000 actors that are called at once several times slower
// (bench/actors.sh).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

namespace desta::runtime::detail {

class Lane;

// For std::lock_guard.
class SpinLock {
 public:
  void lock() {
    int tries = 0;
    while (locked_.load(std::memory_order_relaxed) ||
           locked_.exchange(true, std::memory_order_acquire)) {
      // Who holds it may have lost the core.
      if (++tries > kTriesBeforeYield) {
        std::this_thread::yield();
        continue;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  }
  void unlock() { locked_.store(false, std::memory_order_release); }

 private:
  static constexpr int kTriesBeforeYield = 64;  // about a microsecond of pauses
  std::atomic<bool> locked_ = false;
};

class RunQueue {
 public:
  void push(Lane& lane) {
    const std::lock_guard lock(lock_);
    lanes_.push_back(&lane);
    size_.store(lanes_.size());
  }
  // Null when there is none.
  [[nodiscard]] Lane* pop() {
    if (empty()) {
      return nullptr;
    }
    const std::lock_guard lock(lock_);
    if (lanes_.empty()) {
      return nullptr;
    }
    Lane* lane = lanes_.front();
    lanes_.pop_front();
    size_.store(lanes_.size());
    pops_.store(pops_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return lane;
  }
  [[nodiscard]] bool empty() const { return size_.load() == 0; }
  // Lanes taken out so far.
  [[nodiscard]] std::uint64_t pops() const { return pops_.load(std::memory_order_relaxed); }

 private:
  alignas(64) SpinLock lock_;
  std::deque<Lane*> lanes_;
  alignas(64) std::atomic<std::size_t> size_ = 0;
  std::atomic<std::uint64_t> pops_ = 0;
};

}  // namespace desta::runtime::detail
