// How sure a comparison is: spread over seeds, and intervals of paired differences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace desta::launch {

struct Spread {
  double mean = 0;
  double deviation = 0;  // of the sample (n - 1); 0 for one value
  std::size_t n = 0;
};

// Of one value or more.
[[nodiscard]] Spread spread(std::span<const double> values);

// A question that two runs of one seed have both answered.
struct PairedAnswer {
  std::size_t task = 0;       // below the number of tasks
  std::size_t recording = 0;  // any number; questions about one recording stay together
  int difference = 0;         // 1: right where the baseline was wrong; -1: the other way; 0
};

struct Interval {
  double difference = 0;
  double low = 0;
  double high = 0;
  // By more than rounding makes.
  [[nodiscard]] bool excludes_zero() const { return low > 1e-9 || high < -1e-9; }
};

inline constexpr std::size_t kResamples = 10000;

// The difference of accuracies to the baseline for each task, and last for their average, with the
// 95% percentile interval of the bootstrap (Efron and Tibshirani 1993, section 13.3): every
// resample draws seeds with replacement and, within each, recordings with replacement. `seeds`: the
// paired answers of each seed. The random numbers are fixed, so the same answers give the same
// intervals. Nothing for a task without answers, nor for the average then; nothing at all without
// seeds.
[[nodiscard]] std::vector<std::optional<Interval>> paired_differences(
    const std::vector<std::vector<PairedAnswer>>& seeds, std::size_t tasks,
    std::size_t resamples = kResamples);

}  // namespace desta::launch
