// How a rank that waits learns that it waits in vain, and for whom: a process of this host that is
// gone, a notice of another rank, or the end of the time set.
//
// When the time is up, a rank tells all others that it lives and has waited; so does every rank
// that hears of it. Who has said nothing after a short grace is the one that is missing, whichever
// rank each of the others waited for.
#pragma once

#include <chrono>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/collectives/operation.h"
#include "runtime/collectives/peer_links.h"
#include "runtime/core/error.h"

namespace desta::runtime {

class FailureWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // The names of the ranks' hosts, for messages. `links` must outlive it.
  FailureWatch(PeerLinks& links, std::vector<std::string> hosts, std::chrono::milliseconds timeout);
  ~FailureWatch();
  FailureWatch(const FailureWatch&) = delete;
  FailureWatch& operator=(const FailureWatch&) = delete;

  // `rank` is process `process` of this host: its end is noticed. Where the kernel does not show
  // it, only the time tells.
  void watch_process(int rank, std::int64_t process);

  // For a wait in a collective that began at `start` and lasts: throws TransportError when there is
  // no hope. May be called often.
  void check(const Operation& operation, Clock::time_point start, int peer);
  // The same for a message, which concerns its two ranks alone: others are not told.
  void check_message(const Operation& operation, Clock::time_point start, int peer);
  // The link to `rank` broke: tells the others, throws TransportError.
  [[noreturn]] void fail_for(const Operation& operation, int rank, const std::string& why);
  // Tells the others that this rank's collective has failed, unless they know.
  void tell_failure();

  // "rank 3 (host n2)".
  [[nodiscard]] std::string name_of(int rank) const;
  [[nodiscard]] std::chrono::milliseconds timeout() const { return timeout_; }

 private:
  struct Process {
    int rank = 0;
    int handle = -1;
  };

  void tell_all(Notice notice);
  [[nodiscard]] int gone_process();
  [[noreturn]] void fail_as_told(const Operation& operation, const PeerLinks::Received& received);
  void read_notices(const Operation& operation);
  [[noreturn]] void hold_inquest(const Operation& operation, int peer, bool asked);

  PeerLinks& links_;
  const std::vector<std::string> hosts_;
  const std::chrono::milliseconds timeout_;
  const std::chrono::milliseconds grace_;
  std::mutex mutex_;
  std::vector<Process> processes_;
  Clock::time_point next_look_{};
  int suspect_ = -1;         // the rank that was gone at the last look
  std::vector<bool> spoke_;  // ranks that have sent a notice
  bool told_ = false;
};

}  // namespace desta::runtime
