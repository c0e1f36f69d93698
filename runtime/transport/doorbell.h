// How the ranks of a job wake each other. MPI has no way to sleep until a message comes: a rank
// that waits long says so, sleeps on a socket, and whoever sends it a message rings there.
//
// Ranks of one host see in shared memory whether another sleeps, and ring only then; to ranks of
// other hosts a message is followed by a ring unless they were rung just now. A ring is a datagram
// of one byte (UDP; bound to the loopback when all ranks are on one host); it means nothing but
// "look", so whoever else sends one does no harm. A lost ring delays a message by kLongestSleep.
#pragma once

#include <netinet/in.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/core/shared_segment.h"
#include "runtime/transport/mpi_environment.h"

namespace desta::runtime {

class Doorbell {
 public:
  // A sleeper wakes by itself after this, to look for what no ring has told: 200 looks a second
  // cost 0.1 % of a core.
  static constexpr std::chrono::milliseconds kLongestSleep{5};

  // Collective over all ranks. The environment must outlive it.
  explicit Doorbell(const MpiEnvironment& environment);
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  // This rank looks for messages (true), or nobody does. After false, look once more.
  void set_awake(bool awake);
  // A message for `rank` is on its way: wakes it if it may sleep.
  void ring(int rank);
  [[nodiscard]] bool is_awake() const { return mine_->load() != 0; }
  // Wakes the sleeper of this rank.
  void ring_here();
  // Until somebody rings (true), or kLongestSleep.
  bool sleep();

 private:
  using Word = std::atomic<std::uint32_t>;
  struct Peer {
    Word* awake = nullptr;  // in its memory, if that is on this host
    sockaddr_in address{};
    std::atomic<std::int64_t> last_ring = 0;  // nanoseconds
  };

  int rank_;
  int socket_ = -1;
  int wake_ = -1;
  Word* mine_ = nullptr;
  std::unique_ptr<Word> own_;            // where it is when it cannot be shared
  std::vector<SharedSegment> segments_;  // this rank's and those of its host that it sees
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace desta::runtime
