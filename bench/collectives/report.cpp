#include "bench/collectives/report.h"

#include <fmt/core.h>

#include <filesystem>
#include <fstream>

namespace desta::bench {
namespace {

const char* name_of(Loop loop) { return loop == Loop::kBarrier ? "barrier" : "back to back"; }

}  // namespace

double algorithm_bandwidth(const Row& row) {
  return static_cast<double>(row.bytes) / row.times.average * 1e-3;
}

double bus_bandwidth(const Row& row) {
  return algorithm_bandwidth(row) * 2 * (row.ranks - 1) / row.ranks;
}

void print_heading(std::size_t bytes, Loop loop) {
  fmt::print("\n# {} bytes, {}\n{:<34} {:<10} {:>12} {:>12} {:>12} {:>8} {:>8}\n", bytes,
             name_of(loop), "#", "memory", "avg us", "min us", "max us", "algbw", "busbw");
}

void print_row(const Row& row) {
  fmt::print("{:<34} {:<10} {:>12.2f} {:>12.2f} {:>12.2f} {:>8.3f} {:>8.3f}\n", row.name,
             row.memory, row.times.average, row.times.smallest, row.times.largest,
             algorithm_bandwidth(row), bus_bandwidth(row));
  std::fflush(stdout);
}

void append_csv(const std::string& path, const std::vector<Row>& rows) {
  const bool is_new = !std::filesystem::exists(path) || std::filesystem::file_size(path) == 0;
  std::ofstream out(path, std::ios::app);
  if (is_new) {
    out << "name,memory,loop,ranks,hosts,bytes,avg_us,min_us,max_us,algbw_GBps,busbw_GBps\n";
  }
  for (const Row& row : rows) {
    out << fmt::format("{},{},{},{},{},{},{:.3f},{:.3f},{:.3f},{:.4f},{:.4f}\n", row.name,
                       row.memory, name_of(row.loop), row.ranks, row.hosts, row.bytes,
                       row.times.average, row.times.smallest, row.times.largest,
                       algorithm_bandwidth(row), bus_bandwidth(row));
  }
}

}  // namespace desta::bench
