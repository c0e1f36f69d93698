// A benchmark's figures: one JSON object a line on standard output.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string_view>
#include <vector>

namespace desta::bench {

using Clock = std::chrono::steady_clock;

[[nodiscard]] inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// {"system": "CAF", "what": "remote_call_64B_median", "value": 28.3, "unit": "us"}
inline void print_figure(std::string_view system, std::string_view what, double value,
                         std::string_view unit) {
  fmt::print("{{\"system\": \"{}\", \"what\": \"{}\", \"value\": {:.6g}, \"unit\": \"{}\"}}\n",
             system, what, value, unit);
  std::fflush(stdout);
}

// The value below which `share` of them lie. There must be one.
[[nodiscard]] inline double quantile(std::vector<double> values, double share) {
  const auto place = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(place));
  return values[place];
}

// "<what>_median" and "<what>_p99", in microseconds, of times in seconds.
inline void print_latency(std::string_view system, std::string_view what,
                          const std::vector<double>& seconds) {
  print_figure(system, fmt::format("{}_median", what), 1e6 * quantile(seconds, 0.5), "us");
  print_figure(system, fmt::format("{}_p99", what), 1e6 * quantile(seconds, 0.99), "us");
}

}  // namespace desta::bench
