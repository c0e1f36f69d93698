// The results of a sweep as texts for other programs: CSV and LaTeX.
#pragma once

#include <string>

#include "launch/sweep_summary.h"

namespace desta::launch {

// A field of a CSV file (RFC 4180): quoted where it must be.
[[nodiscard]] std::string csv_field(const std::string& text);

// `text` for LaTeX's text mode.
[[nodiscard]] std::string escape_latex(const std::string& text);

// A line for each trial, round, set and task, with the accuracy as the evaluation has it. Beside
// the tasks: "average", the formats asked for, and "text" and "retention" as sets of their own.
// Columns: trial, condition, seed, round, set, task, accuracy, n, path.
[[nodiscard]] std::string results_csv(const SweepResults& results);

// One booktabs table: average accuracy of each set by condition, in per cent, mean and deviation
// over seeds; differences to the baseline whose interval excludes zero have a star.
[[nodiscard]] std::string results_latex(const Plan& plan, const Summary& summary);

}  // namespace desta::launch
