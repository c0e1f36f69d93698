// What was measured: a table for people and CSV for plots.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "bench/collectives/timing.h"

namespace desta::bench {

struct Row {
  std::string name;
  std::string memory;
  Loop loop = Loop::kBarrier;
  int ranks = 1;
  int hosts = 1;
  std::size_t bytes = 0;
  Times times;
};

// Gigabytes a second, as nccl-tests defines them: the bytes of the buffer by the time, and that
// times 2 (n-1)/n, which compares with the speed of the links whatever the number of ranks.
[[nodiscard]] double algorithm_bandwidth(const Row& row);
[[nodiscard]] double bus_bandwidth(const Row& row);

void print_heading(std::size_t bytes, Loop loop);
void print_row(const Row& row);
// Appends, with a line of names to a file that is new.
void append_csv(const std::string& path, const std::vector<Row>& rows);

}  // namespace desta::bench
