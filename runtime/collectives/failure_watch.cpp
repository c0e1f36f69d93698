#include "runtime/collectives/failure_watch.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace desta::runtime {
namespace {

using std::chrono::milliseconds;

// Between two looks at the processes of this host.
constexpr milliseconds kLookInterval{1};
// Ranks in a wait look for notices every few milliseconds at most; the grace is many of these.
constexpr milliseconds kLeastGrace{50};
constexpr milliseconds kMostGrace{1000};

}  // namespace

FailureWatch::FailureWatch(PeerLinks& links, std::vector<std::string> hosts, milliseconds timeout)
    : links_(links),
      hosts_(std::move(hosts)),
      timeout_(timeout),
      grace_(std::min(std::clamp(timeout / 10, kLeastGrace, kMostGrace), timeout / 2)),
      spoke_(hosts_.size()) {}

FailureWatch::~FailureWatch() {
  for (const Process& process : processes_) {
    ::close(process.handle);
  }
}

void FailureWatch::watch_process(int rank, std::int64_t process) {
  const auto handle = static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(process), 0));
  if (handle >= 0) {
    const std::lock_guard lock(mutex_);
    processes_.push_back({rank, handle});
  }
}

std::string FailureWatch::name_of(int rank) const {
  return fmt::format("rank {} (host {})", rank, hosts_[static_cast<std::size_t>(rank)]);
}

void FailureWatch::tell_all(Notice notice) {
  if (std::exchange(told_, true)) {
    return;
  }
  for (int peer = 0; peer < links_.size(); ++peer) {
    if (peer != links_.rank() && peer != notice.culprit) {
      links_.notify(peer, notice);
    }
  }
}

void FailureWatch::tell_failure() {
  const std::lock_guard lock(mutex_);
  tell_all({Notice::Kind::kFailed, -1});
}

void FailureWatch::fail_for(const Operation& operation, int rank, const std::string& why) {
  const std::lock_guard lock(mutex_);
  tell_all({Notice::Kind::kGone, rank});
  throw TransportError("{}: {} is gone or cut off: {}", operation.text(), name_of(rank), why);
}

// The rank of a process of this host that has ended; -1: none. It must be so at two looks: whoever
// did its part and then ended has left what the waiting rank finds between them.
int FailureWatch::gone_process() {
  const Clock::time_point now = Clock::now();
  if (processes_.empty() || now < next_look_) {
    return -1;
  }
  next_look_ = now + kLookInterval;
  std::vector<pollfd> handles;
  for (const Process& process : processes_) {
    handles.push_back({process.handle, POLLIN, 0});
  }
  if (poll(handles.data(), handles.size(), 0) <= 0) {
    return -1;
  }
  const auto found =
      std::ranges::find_if(handles, [](const pollfd& one) { return one.revents != 0; });
  const int gone = processes_[static_cast<std::size_t>(found - handles.begin())].rank;
  return std::exchange(suspect_, gone) == gone ? gone : -1;
}

// Passes the news on: whoever hears of this rank's failure first shall know why.
void FailureWatch::fail_as_told(const Operation& operation, const PeerLinks::Received& received) {
  tell_all(received.notice);
  throw TransportError("{}: {} is gone, as {} has found", operation.text(),
                       name_of(received.notice.culprit), name_of(received.sender));
}

void FailureWatch::read_notices(const Operation& operation) {
  while (const auto received = links_.next_notice()) {
    spoke_[static_cast<std::size_t>(received->sender)] = true;
    switch (received->notice.kind) {
      case Notice::Kind::kGone:
        fail_as_told(operation, *received);
      case Notice::Kind::kFailed:
        throw TransportError("{}: {} has failed; its own message says why", operation.text(),
                             name_of(received->sender));
      case Notice::Kind::kSilent:
        hold_inquest(operation, received->sender, true);
    }
  }
}

void FailureWatch::hold_inquest(const Operation& operation, int peer, bool asked) {
  tell_all({Notice::Kind::kSilent, -1});
  const auto own = static_cast<std::size_t>(links_.rank());
  spoke_[own] = true;
  const Clock::time_point end = Clock::now() + grace_;
  while (Clock::now() < end && std::ranges::find(spoke_, false) != spoke_.end()) {
    while (const auto received = links_.next_notice()) {
      spoke_[static_cast<std::size_t>(received->sender)] = true;
      if (received->notice.kind == Notice::Kind::kGone) {
        fail_as_told(operation, *received);
      }
    }
    std::this_thread::sleep_for(kLookInterval);
  }
  const double seconds = std::chrono::duration<double>(timeout_).count();
  std::string missing;
  for (std::size_t rank = 0; rank < spoke_.size(); ++rank) {
    if (!spoke_[rank]) {
      missing += (missing.empty() ? "" : ", ") + name_of(static_cast<int>(rank));
    }
  }
  if (!missing.empty()) {
    throw TransportError("{}: {} did not answer within {} s; is it stopped, busy or cut off?",
                         operation.text(), missing, seconds);
  }
  if (asked) {
    throw TransportError("{}: {} gave up before this rank came; it waits {} s at most",
                         operation.text(), name_of(peer), seconds);
  }
  throw TransportError(
      "{}: {} did not do its part within {} s, though all ranks answer; do all ranks make the same "
      "calls in the same order?",
      operation.text(), name_of(peer), seconds);
}

void FailureWatch::check(const Operation& operation, Clock::time_point start, int peer) {
  const std::lock_guard lock(mutex_);
  read_notices(operation);
  if (const int gone = gone_process(); gone >= 0) {
    tell_all({Notice::Kind::kGone, gone});
    throw TransportError("{}: {} is gone", operation.text(), name_of(gone));
  }
  if (Clock::now() - start > timeout_ - grace_) {
    hold_inquest(operation, peer, false);
  }
}

void FailureWatch::check_message(const Operation& operation, Clock::time_point start, int peer) {
  const std::lock_guard lock(mutex_);
  if (const int gone = gone_process(); gone >= 0 && gone == peer) {
    throw TransportError("{}: {} is gone", operation.text(), name_of(gone));
  }
  if (Clock::now() - start > timeout_) {
    throw TransportError("{}: {} did not {} within {} s; is it still alive?", operation.text(),
                         name_of(peer),
                         operation.kind == Operation::Kind::kSend ? "receive" : "send",
                         std::chrono::duration<double>(timeout_).count());
  }
}

}  // namespace desta::runtime
