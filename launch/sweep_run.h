// Running a sweep's trials on this machine, several at once.
#pragma once

#include <cstdint>
#include <filesystem>

#include "launch/sweep_plan.h"

namespace desta::launch {

struct RunOptions {
  std::int64_t ranks = 1;       // at once, of all trials together
  std::int64_t data_ranks = 0;  // of data generation; 0: as many as the trial that needs it
  bool retry_failed = false;
};

// Cores that this process may use.
[[nodiscard]] std::int64_t usable_cores();

// Makes the shared data, then runs what is pending, each trial in a process of its own; `plan_file`
// is where the plan was saved. A failing trial stops no other. A stop request, or a trial that ends
// with 75, stops all: they save, are waited for and become pending. Returns an exit code: 0 all
// trials are done, 1 some have failed, 75 stopped, or some are being run by another process.
int run_here(const Plan& plan, const std::filesystem::path& plan_file, const RunOptions& options);

}  // namespace desta::launch
