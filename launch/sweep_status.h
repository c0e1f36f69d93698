// What a sweep will do and how far it is, as tables for people.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launch/sweep_plan.h"

namespace desta::launch {

// Columns as wide as their longest cell; numbers (cells of digits, points and signs) to the right.
[[nodiscard]] std::string text_table(const std::vector<std::vector<std::string>>& rows);

// The trials, the shared data and the commands of the first trial.
[[nodiscard]] std::string plan_text(const Plan& plan);

// Counts by state, and a line a trial: state, round, step, loss, message.
[[nodiscard]] std::string status_text(const Plan& plan);

}  // namespace desta::launch
