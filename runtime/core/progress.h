// A progress bar for a person at a terminal: percent, rate and time left on one line that is drawn
// over. Where standard error is no terminal (a log file), it prints a line every 10 s instead.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace desta::runtime {

class ProgressBar {
 public:
  // `total` of 0 means that the end is not known: only count and rate are shown.
  ProgressBar(std::string label, std::uint64_t total);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Thread-safe and cheap: it draws at most 10 times a second.
  void update(std::uint64_t done, std::string note = "");
  // Prints the last state and ends the line; further updates are ignored. Called by the destructor.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);

  const std::string label_;
  const std::uint64_t total_;
  const bool terminal_;
  const Clock::time_point start_;
  std::mutex mutex_;
  Clock::time_point last_drawn_;
  std::uint64_t done_ = 0;
  std::string note_;
  bool finished_ = false;
};

// The text of one state, without terminal codes: "epoch 1  42% 420/1000  3.1/s  3:07 left  loss 2".
[[nodiscard]] std::string format_progress(const std::string& label, std::uint64_t done,
                                          std::uint64_t total, double seconds,
                                          const std::string& note);

}  // namespace desta::runtime
