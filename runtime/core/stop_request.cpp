#include "runtime/core/stop_request.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <limits>

namespace desta::runtime {
namespace {

using Clock = std::chrono::system_clock;

std::atomic<int> signal_number{0};
std::atomic<bool> deadline_reached{false};
std::atomic<Clock::rep> deadline{std::numeric_limits<Clock::rep>::max()};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may store it");

}  // namespace

void request_stop(int number) noexcept { signal_number.store(number); }

void set_stop_deadline(Clock::time_point time) { deadline.store(time.time_since_epoch().count()); }

bool stop_is_due(double seconds) {
  const auto limit = deadline.load();
  if (limit != std::numeric_limits<Clock::rep>::max()) {
    const Clock::time_point end{Clock::duration(limit)};
    if (std::chrono::duration<double>(end - Clock::now()).count() <= seconds) {
      deadline_reached.store(true);
    }
  }
  return signal_number.load() != 0 || deadline_reached.load();
}

std::string signal_name(int number) {
  const char* name = ::sigabbrev_np(number);
  return name == nullptr ? "signal " + std::to_string(number) : std::string("SIG") + name;
}

std::string stop_reason() {
  if (const int number = signal_number.load(); number != 0) {
    return ::sigabbrev_np(number) == nullptr ? signal_name(number) : "signal " + signal_name(number);
  }
  return deadline_reached.load() ? "the time limit" : "";
}

void clear_stop_request() {
  signal_number.store(0);
  deadline_reached.store(false);
  deadline.store(std::numeric_limits<Clock::rep>::max());
}

}  // namespace desta::runtime
