// Who runs actors and lets threads wait: a pool of threads in a program, one seeded loop in a test.
// Private to this folder.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace desta::runtime {

class Transport;

namespace detail {

class FutureBase;
class Lane;

class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;
  using Deadline = std::optional<Clock::time_point>;

  virtual ~Scheduler() = default;

  // Threads that wait may look for the transport's messages meanwhile.
  virtual void start(Transport& transport) = 0;
  // Ends the threads; no lane runs afterwards. False when some thread sits in a method still: the
  // scheduler must then never be destroyed.
  [[nodiscard]] virtual bool stop() = 0;

  // A thread for one lane (Lane::thread); it ends when the last copy of the result is gone.
  [[nodiscard]] virtual std::shared_ptr<void> make_thread(const std::string& name) = 0;

  // Has lane.activate() called soon. The lane must live until then.
  virtual void schedule(Lane& lane) = 0;
  // Has `action` called once, later. It must be short. Dropped at stop().
  virtual void after(std::chrono::nanoseconds delay, std::function<void()> action) = 0;
  [[nodiscard]] virtual Clock::time_point now() const = 0;

  // Holds the calling thread until one of the futures is done (true) or the deadline has passed.
  [[nodiscard]] virtual bool wait(std::span<FutureBase* const> futures, Deadline deadline) = 0;
  // The same for a condition that changes seldom: it is looked at again and again.
  [[nodiscard]] virtual bool wait_until(const std::function<bool()>& condition,
                                        Deadline deadline) = 0;
};

}  // namespace detail
}  // namespace desta::runtime
