// How an all-reduce is timed, as the OSU benchmarks and nccl-tests do it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace desta::bench {

// Something that reduces `bytes` bytes of float32 at `data` in place, over all ranks.
struct Contender {
  std::string name;
  std::string memory;  // "allocated" by our communicator, or the "user"'s own
  float* data = nullptr;
  // Prepares for a size, and returns what is timed. Collective.
  std::function<std::function<void()>(std::size_t bytes)> prepare;
  bool reduces = true;                // false: a measure of the machine; its result is not checked
  std::size_t most_bytes = SIZE_MAX;  // larger sizes are left out
};

enum class Loop {
  kBarrier,     // a barrier before each run, which is not timed
  kBackToBack,  // runs follow each other
};

// Microseconds of a run: each rank's mean, of which the ranks' average, smallest and largest, as
// the OSU benchmarks print them.
struct Times {
  double average = 0;
  double smallest = 0;
  double largest = 0;
};

// Runs for about `seconds`, five times at least, after two runs that are not counted. Collective.
[[nodiscard]] Times time_runs(const std::function<void()>& run, Loop loop, double seconds);

// Whether the sum is right: every rank gives small whole numbers. Collective.
[[nodiscard]] bool sums_are_right(const Contender& contender, std::size_t bytes);

}  // namespace desta::bench
