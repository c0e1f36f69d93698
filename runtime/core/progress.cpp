#include "runtime/core/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace desta::runtime {
namespace {

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kLogInterval = std::chrono::seconds(10);

std::string format_duration(double seconds) {
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  if (whole >= 3600) {
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  }
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

std::string format_progress(const std::string& label, std::uint64_t done, std::uint64_t total,
                            double seconds, const std::string& note) {
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0.0;
  std::string text = label;
  if (total > 0) {
    const std::uint64_t shown = std::min(done, total);
    text += fmt::format(" {:3}% {}/{}", shown * 100 / total, shown, total);
  } else {
    text += fmt::format(" {}", done);
  }
  text += rate >= 10 ? fmt::format("  {:.0f}/s", rate) : fmt::format("  {:.2f}/s", rate);
  if (total > done && rate > 0) {
    text += "  " + format_duration(static_cast<double>(total - done) / rate) + " left";
  }
  if (!note.empty()) {
    text += "  " + note;
  }
  return text;
}

ProgressBar::ProgressBar(std::string label, std::uint64_t total)
    : label_(std::move(label)),
      total_(total),
      terminal_(::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_drawn_(start_) {}

ProgressBar::~ProgressBar() { finish(); }

void ProgressBar::update(std::uint64_t done, std::string note) {
  const std::lock_guard lock(mutex_);
  if (finished_) {
    return;
  }
  done_ = done;
  note_ = std::move(note);
  const Clock::time_point now = Clock::now();
  const bool due =
      terminal_ ? now - last_drawn_ >= kTerminalInterval : now - last_drawn_ >= kLogInterval;
  if (due) {
    draw(now);
  }
}

void ProgressBar::finish() {
  const std::lock_guard lock(mutex_);
  if (finished_) {
    return;
  }
  finished_ = true;
  draw(Clock::now());
  if (terminal_) {
    std::fputc('\n', stderr);
  }
}

void ProgressBar::draw(Clock::time_point now) {
  last_drawn_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const std::string text = format_progress(label_, done_, total_, seconds, note_);
  // "\033[K" clears what an earlier, longer line has left.
  const std::string line = terminal_ ? "\r" + text + "\033[K" : text + "\n";
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace desta::runtime
