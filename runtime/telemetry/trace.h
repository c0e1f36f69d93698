// What each thread did when, for chrome://tracing or ui.perfetto.dev (the Chrome trace event
// format). Recording costs two clock reads and an append to the thread's own list; nothing at all
// while the trace is off.
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
  // `process` is the rank: traces of several ranks can be shown together.
  explicit Trace(int process = 0) : process_(process), start_(Clock::now()) {}
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  void enable(bool on = true) { enabled_ = on; }
  [[nodiscard]] bool enabled() const { return enabled_; }

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
  const Clock::time_point start_;
  std::atomic<bool> enabled_ = false;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<ThreadLog>> threads_;
};

}  // namespace desta::runtime
