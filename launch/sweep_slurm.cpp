#include "launch/sweep_slurm.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "launch/short_command.h"
#include "launch/sweep_process.h"
#include "launch/sweep_state.h"
#include "launch/sweep_trial.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

constexpr auto kPatience = std::chrono::seconds(60);  // slurmctld may be busy

// The id of the job that sbatch has made of `arguments`.
std::string sbatch(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"sbatch", "--parsable"});
  const CommandAnswer answer = run_briefly(arguments, kPatience);
  if (!answer.found) {
    throw runtime::ConfigError(
        "no sbatch here: --slurm needs a machine that submits to Slurm; "
        "without it the sweep runs on this one");
  }
  // Its last line is "17" or "17;cluster"; warnings may stand before.
  const std::string last = answer.output.substr(answer.output.rfind('\n') + 1);
  const std::string id = last.substr(0, last.find(';'));
  if (answer.code != 0 || id.empty() || id.find_first_not_of("0123456789") != std::string::npos) {
    throw runtime::ConfigError("sbatch refused (code {}): {}", answer.code, last);
  }
  return id;
}

}  // namespace

std::string array_text(const std::vector<std::size_t>& indices) {
  std::string text;
  for (std::size_t i = 0; i < indices.size();) {
    std::size_t last = i;
    while (last + 1 < indices.size() && indices[last + 1] == indices[last] + 1) {
      ++last;
    }
    text += (text.empty() ? "" : ",") + std::to_string(indices[i]);
    if (last > i) {
      text += "-" + std::to_string(indices[last]);
    }
    i = last + 1;
  }
  return text;
}

int submit(const Plan& plan, const fs::path& plan_file, const SlurmOptions& options,
           bool retry_failed) {
  std::vector<std::size_t> indices;  // of a trial of each job
  std::set<std::size_t> jobs;
  std::int64_t ranks = 1;
  bool prepared = true;
  for (const auto& trial : plan.trials) {
    const TrialFolder folder(plan.trial_folder(trial));
    const auto status = folder.current().status;
    if (status == TrialStatus::kPending || (status == TrialStatus::kFailed && retry_failed)) {
      if (jobs.insert(trial.job).second) {
        indices.push_back(trial.index);
      }
      ranks = std::max(ranks, trial.ranks());
      prepared = prepared && is_prepared(plan, trial);
    }
  }
  if (indices.empty()) {
    runtime::log().info("nothing is pending; nothing submitted");
    return runtime::kExitOk;
  }
  const fs::path logs = plan.folder / "slurm";
  fs::create_directories(logs);
  const auto common = [&](const std::string& what, const std::string& log) {
    std::vector<std::string> arguments = {fmt::format("--job-name=sweep-{}-{}", plan.name, what),
                                          fmt::format("--output={}", (logs / log).string()),
                                          fmt::format("--ntasks={}", ranks)};
    arguments.insert(arguments.end(), options.sbatch_options.begin(), options.sbatch_options.end());
    return arguments;
  };
  const auto finish = [&](std::vector<std::string> arguments, const std::string& command) {
    arguments.insert(arguments.end(),
                     {options.script, sibling("desta-sweep"), command, fs::absolute(plan_file)});
    return sbatch(std::move(arguments));
  };
  std::string dependency;
  if (!prepared) {
    const std::string id = finish(common("data", "data-%j.txt"), "prepare");
    fmt::print("job {}: the data\n", id);
    // Whatever became of it: a trial whose data is missing tries once more, and fails alone.
    dependency = "afterany:" + id;
  }
  std::vector<std::string> arguments = common("trials", "trial-%A_%a.txt");
  arguments.push_back(
      fmt::format("--array={}{}", array_text(indices),
                  options.at_once > 0 ? fmt::format("%{}", options.at_once) : std::string()));
  if (!dependency.empty()) {
    arguments.push_back("--dependency=" + dependency);
  }
  const std::string id = finish(std::move(arguments), "trial");
  fmt::print("job {}: trials {}; follow them with `desta-sweep status` and `squeue -j {}`\n", id,
             array_text(indices), id);
  return runtime::kExitOk;
}

}  // namespace desta::launch
