// What each thread did when, for chrome://tracing or ui.perfetto.dev (the Chrome trace event
// format). Recording costs two clock reads and an append to the thread's own list; nothing at all
// while the trace is off. A trace that is full keeps what it has: what comes later is counted, the log
// says so once, and the file has their number (otherData.eventsLeftOut).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace desta::runtime {

class Trace {
 public:
  // So many take 130 MB of memory and 110 MB of the file (spans named "generator/3.generate_batch").
  static constexpr std::uint64_t kMostEvents = 1'000'000;

  // `process` is the rank: traces of several ranks can be shown together.
  explicit Trace(int process = 0, std::uint64_t most_events = kMostEvents)
      : process_(process), most_events_(most_events), start_(Clock::now()) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  void enable(bool on = true) { enabled_ = on; }
  [[nodiscard]] bool enabled() const { return enabled_; }
  // Events that came when it was full.
  [[nodiscard]] std::uint64_t left_out() const;

  // A stretch of time on the calling thread, from construction to the end of scope:
  //   const Trace::Span span(trace, "forward", "microbatch 3");
  class Span {
   public:
    Span(Trace& trace, std::string name, std::string category = "");
    ~Span();
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Trace* trace_;
    std::string name_;
    std::string category_;
    std::chrono::steady_clock::time_point begin_;
  };

  // The name under which the calling thread is shown.
  void name_thread(std::string name);

  // Writes all finished spans so far, atomically. Throws InternalError when the disk is full.
  void write(const std::filesystem::path& path) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Event {
    std::string name;
    std::string category;
    double begin_us;
    double duration_us;
  };
  struct ThreadLog {
    std::mutex mutex;  // its thread against write()
    std::string name;
    std::vector<Event> events;
  };
  ThreadLog& own_log();
  void record(Event event);

  const int process_;
  const std::uint64_t most_events_;
  const Clock::time_point start_;
  std::atomic<std::uint64_t> seen_ = 0;  // kept or not
  std::atomic<bool> enabled_ = false;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<ThreadLog>> threads_;
};

}  // namespace desta::runtime
