// Handing a sweep to Slurm: one job that makes the shared data, then an array with a task a trial.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "launch/sweep_plan.h"

namespace desta::launch {

struct SlurmOptions {
  std::int64_t at_once = 0;  // tasks of the array that may run together; 0: all
  std::vector<std::string> sbatch_options;
  std::string script = DESTA_SOURCE_DIR "/launch/slurm/sweep.sbatch";
};

// "1,4-6" for 1, 4, 5, 6 (ascending).
[[nodiscard]] std::string array_text(const std::vector<std::size_t>& indices);

// Submits what is pending, with `retry_failed` also what has failed; `plan_file` is where the plan
// was saved. Says the jobs' ids. Returns an exit code. Throws ConfigError when there is no sbatch,
// or when it refuses.
int submit(const Plan& plan, const std::filesystem::path& plan_file, const SlurmOptions& options,
           bool retry_failed);

}  // namespace desta::launch
