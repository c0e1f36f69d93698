#include "bench/collectives/timing.h"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace desta::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLeastRuns = 5;
constexpr int kBatches = 5;
constexpr int kMostInABatch = 1000;

double seconds_of(const std::function<void()>& run) {
  const auto start = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Times time_runs(const std::function<void()>& run, Loop loop, double seconds) {
  int ranks = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  run();
  double one = seconds_of(run);
  MPI_Bcast(&one, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  // In batches, after each of which rank 0 says whether there is time for another: a single run
  // tells little of how long many take.
  const int batch = std::clamp(static_cast<int>(seconds / kBatches / one), 1, kMostInABatch);
  double total = 0;
  int runs = 0;
  for (int goes_on = 1; goes_on != 0;) {
    MPI_Barrier(MPI_COMM_WORLD);
    if (loop == Loop::kBarrier) {
      for (int i = 0; i < batch; ++i) {
        MPI_Barrier(MPI_COMM_WORLD);
        total += seconds_of(run);
      }
    } else {
      total += seconds_of([&] {
        for (int i = 0; i < batch; ++i) {
          run();
        }
      });
    }
    runs += batch;
    goes_on = runs < kLeastRuns || total < seconds ? 1 : 0;
    MPI_Bcast(&goes_on, 1, MPI_INT, 0, MPI_COMM_WORLD);
  }
  const double mean = 1e6 * total / runs;
  Times times;
  MPI_Allreduce(&mean, &times.average, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  MPI_Allreduce(&mean, &times.smallest, 1, MPI_DOUBLE, MPI_MIN, MPI_COMM_WORLD);
  MPI_Allreduce(&mean, &times.largest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  times.average /= ranks;
  return times;
}

bool sums_are_right(const Contender& contender, std::size_t bytes) {
  int rank = 0;
  int ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const std::size_t count = bytes / sizeof(float);
  const auto number = [](std::size_t i, int of) { return static_cast<float>(i % 1000 + of); };
  for (std::size_t i = 0; i < count; ++i) {
    contender.data[i] = number(i, rank);
  }
  const auto run = contender.prepare(bytes);
  MPI_Barrier(MPI_COMM_WORLD);
  run();
  int right = 1;
  for (std::size_t i = 0; i < count; ++i) {
    float sum = 0;
    for (int of = 0; of < ranks; ++of) {
      sum += number(i, of);
    }
    right = right != 0 && contender.data[i] == sum ? 1 : 0;
  }
  std::fill_n(contender.data, count, 0.0F);
  int all = 0;
  MPI_Allreduce(&right, &all, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  return all != 0;
}

}  // namespace desta::bench
