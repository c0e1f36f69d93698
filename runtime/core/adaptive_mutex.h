// A mutex for sections of some ten nanoseconds that two threads enter often: who finds it taken spins for a
// moment before it sleeps (glibc's PTHREAD_MUTEX_ADAPTIVE_NP, which learns for how long). Putting the
// program's thread to sleep and waking it cost more than the section each time: see
// 10000_actors_spawned_called_ended in bench/actors.sh.
#pragma once

#include <pthread.h>

namespace desta::runtime {

// For std::lock_guard and std::unique_lock; no condition variable waits on it.
class AdaptiveMutex {
 public:
  AdaptiveMutex() = default;
  AdaptiveMutex(const AdaptiveMutex&) = delete;
  AdaptiveMutex& operator=(const AdaptiveMutex&) = delete;
  ~AdaptiveMutex() { pthread_mutex_destroy(&mutex_); }

  void lock() { pthread_mutex_lock(&mutex_); }
  bool try_lock() { return pthread_mutex_trylock(&mutex_) == 0; }
  void unlock() { pthread_mutex_unlock(&mutex_); }

 private:
  pthread_mutex_t mutex_ = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
};

}  // namespace desta::runtime
