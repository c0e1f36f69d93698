// The comparison that a report shows: for each condition and round what its seeds have in common,
// and how far it is from the baseline.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/sweep_results.h"
#include "launch/sweep_statistics.h"

namespace desta::launch {

// One number of a condition.
struct Measure {
  std::vector<double> values;          // of single runs, shares between 0 and 1
  std::optional<Interval> difference;  // to the baseline; none for the baseline itself

  [[nodiscard]] bool empty() const { return values.empty(); }
  [[nodiscard]] Spread spread() const { return launch::spread(values); }
};

struct SetColumns {
  std::string name;
  std::vector<std::string> tasks;
  std::vector<std::string> instructions;
  // Means over all runs, by task, the average last: what is reached without the adapter, and with
  // the true text in its place.
  std::vector<double> majority, transcription_only, ceiling;
};

struct SetMeasures {
  std::vector<Measure> tasks;
  Measure average;
  std::vector<Measure> instructions;
};

// One line of the tables.
struct SummaryRow {
  std::size_t condition = 0;  // of the plan
  std::int64_t round = 1;
  std::vector<const RoundResult*> runs;
  std::vector<SetMeasures> sets;  // beside Summary::sets
  Measure text;
  Measure retention;
};

struct Summary {
  std::vector<SetColumns> sets;  // in the order of the evaluations
  std::vector<SummaryRow> rows;  // by condition, then round; those without a run are left out
  bool has_text = false;
  bool has_retention = false;
};

// The condition whose references (majority class, transcription only, ceiling) are shown: the baseline,
// or the first.
[[nodiscard]] inline const std::string& reference_condition(const Plan& plan) {
  return plan.baseline.empty() ? plan.conditions.front() : plan.baseline;
}

[[nodiscard]] Summary summarise(const Plan& plan, const SweepResults& results,
                                std::size_t resamples = kResamples);

}  // namespace desta::launch
