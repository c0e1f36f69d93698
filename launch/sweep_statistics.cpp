#include "launch/sweep_statistics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "runtime/core/random.h"

namespace desta::launch {
namespace {

constexpr std::uint64_t kBootstrapSeed = 1993;
constexpr double kTail = 0.025;  // on each side

// One seed's answers, summed by recording and task.
struct Seed {
  std::size_t recordings = 0;
  std::vector<double> sums;    // [recordings, tasks]
  std::vector<double> counts;  // [recordings, tasks]
};

Seed by_recording(const std::vector<PairedAnswer>& answers, std::size_t tasks) {
  std::map<std::size_t, std::size_t> rows;
  for (const auto& answer : answers) {
    rows.emplace(answer.recording, rows.size());
  }
  Seed seed{.recordings = rows.size(),
            .sums = std::vector<double>(rows.size() * tasks),
            .counts = std::vector<double>(rows.size() * tasks)};
  for (const auto& answer : answers) {
    const std::size_t cell = rows.at(answer.recording) * tasks + answer.task;
    seed.sums[cell] += answer.difference;
    seed.counts[cell] += 1;
  }
  return seed;
}

// Mean over seeds of each task's difference, and the tasks' mean. A task that no drawn recording
// has been asked about keeps what `otherwise` says.
class Estimate {
 public:
  explicit Estimate(std::size_t tasks)
      : sums_(tasks), counts_(tasks), totals_(tasks), seeds_(tasks) {}

  void add_recording(const Seed& seed, std::size_t recording) {
    const std::size_t tasks = sums_.size();
    for (std::size_t task = 0; task < tasks; ++task) {
      sums_[task] += seed.sums[recording * tasks + task];
      counts_[task] += seed.counts[recording * tasks + task];
    }
  }
  void finish_seed() {
    for (std::size_t task = 0; task < sums_.size(); ++task) {
      if (counts_[task] > 0) {
        totals_[task] += sums_[task] / counts_[task];
        seeds_[task] += 1;
      }
      sums_[task] = counts_[task] = 0;
    }
  }
  [[nodiscard]] bool has(std::size_t task) const { return seeds_[task] > 0; }
  // [tasks + 1], the average last.
  [[nodiscard]] std::vector<double> values(const std::vector<double>& otherwise) const {
    std::vector<double> values = otherwise;
    for (std::size_t task = 0; task < totals_.size(); ++task) {
      if (has(task)) {
        values[task] = totals_[task] / seeds_[task];
      }
    }
    values.back() = std::accumulate(values.begin(), values.end() - 1, 0.0) /
                    static_cast<double>(totals_.size());
    return values;
  }

 private:
  std::vector<double> sums_;  // of the seed that is being added
  std::vector<double> counts_;
  std::vector<double> totals_;  // over finished seeds
  std::vector<double> seeds_;
};

}  // namespace

Spread spread(std::span<const double> values) {
  Spread result{.n = values.size()};
  const auto n = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  if (values.size() > 1) {
    double squares = 0;
    for (const double value : values) {
      squares += (value - result.mean) * (value - result.mean);
    }
    result.deviation = std::sqrt(squares / (n - 1));
  }
  return result;
}

std::vector<std::optional<Interval>> paired_differences(
    const std::vector<std::vector<PairedAnswer>>& answers, std::size_t tasks,
    std::size_t resamples) {
  std::vector<std::optional<Interval>> intervals(tasks + 1);
  std::vector<Seed> seeds;
  for (const auto& seed : answers) {
    if (!seed.empty()) {
      seeds.push_back(by_recording(seed, tasks));
    }
  }
  if (seeds.empty() || tasks == 0) {
    return intervals;
  }
  Estimate observed(tasks);
  for (const auto& seed : seeds) {
    for (std::size_t recording = 0; recording < seed.recordings; ++recording) {
      observed.add_recording(seed, recording);
    }
    observed.finish_seed();
  }
  const auto point = observed.values(std::vector<double>(tasks + 1));

  std::vector<std::vector<double>> draws(tasks + 1, std::vector<double>(resamples));
  runtime::Random random(kBootstrapSeed);
  for (std::size_t draw = 0; draw < resamples; ++draw) {
    Estimate estimate(tasks);
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      const Seed& seed = seeds[random.below(seeds.size())];
      for (std::size_t j = 0; j < seed.recordings; ++j) {
        estimate.add_recording(seed, random.below(seed.recordings));
      }
      estimate.finish_seed();
    }
    const auto values = estimate.values(point);
    for (std::size_t task = 0; task <= tasks; ++task) {
      draws[task][draw] = values[task];
    }
  }
  bool all = true;
  for (std::size_t task = 0; task <= tasks; ++task) {
    const bool there = task < tasks ? observed.has(task) : all;
    all = all && there;
    if (there) {
      auto& values = draws[task];
      std::sort(values.begin(), values.end());
      // The B a-th and the B (1 - a)-th value in order, counted from 1.
      const auto tail = static_cast<std::size_t>(kTail * static_cast<double>(resamples));
      intervals[task] = {point[task], values[std::max<std::size_t>(tail, 1) - 1],
                         values[resamples - tail - 1]};
    }
  }
  return intervals;
}

}  // namespace desta::launch
