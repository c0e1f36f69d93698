// desta-sweep: many trials from one file: planned, run, followed, resumed and compared.
#include <fmt/core.h>
#include <CLI/CLI.hpp>

#include "desta_version.h"
#include "launch/job_environment.h"
#include "launch/number_checks.h"
#include "launch/preemption.h"
#include "launch/program.h"
#include "launch/sweep_plan.h"
#include "launch/sweep_report.h"
#include "launch/sweep_run.h"
#include "launch/sweep_slurm.h"
#include "launch/sweep_status.h"
#include "launch/sweep_trial.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"

namespace {

using namespace desta;
using launch::Plan;

struct Arguments {
  std::string command;
  std::string file;
  std::vector<std::string> overrides;
  bool dry_run = false;
  std::int64_t ranks = 0;  // 0: not said
  bool slurm = false;
  launch::SlurmOptions slurm_options;
  std::vector<std::int64_t> indices;
  bool whole_job = false;
  int sweeper = 0;
};

// A sweep file, or a plan that was made of one.
Plan read_plan(const Arguments& arguments) {
  if (std::filesystem::path(arguments.file).extension() == ".json") {
    if (!arguments.overrides.empty()) {
      throw runtime::ConfigError("{}: a plan is complete; --set belongs to a sweep file",
                                 arguments.file);
    }
    return launch::load_plan(arguments.file);
  }
  return launch::make_plan(launch::read_sweep_file(arguments.file), arguments.overrides);
}

int run_all(const Plan& plan, const std::filesystem::path& file, const Arguments& arguments) {
  const bool retry = arguments.command == "resume";
  if (arguments.slurm) {
    return launch::submit(plan, file, arguments.slurm_options, retry);
  }
  return launch::run_here(plan, file,
                          {.ranks = arguments.ranks > 0 ? arguments.ranks : launch::usable_cores(),
                           .data_ranks = arguments.ranks,
                           .retry_failed = retry});
}

int run_some(const Plan& plan, const Arguments& arguments) {
  std::vector<const launch::Trial*> trials;
  for (const std::int64_t index : arguments.indices) {
    if (index < 0 || index >= std::ssize(plan.trials)) {
      throw runtime::ConfigError("--index {}: the sweep has trials 0 to {}", index,
                                 plan.trials.size() - 1);
    }
    const launch::Trial& trial = plan.trials[static_cast<std::size_t>(index)];
    if (arguments.whole_job) {
      trials = plan.job(trial.job);
    } else {
      trials.push_back(&trial);
    }
    if (trials.front()->job != trial.job) {
      throw runtime::ConfigError("--index {}: not trained in one job with {}; run it by itself", index,
                                 trials.front()->index);
    }
  }
  return launch::run_trials(plan, trials, arguments.sweeper);
}

int work(const Arguments& arguments) {
  const Plan plan = read_plan(arguments);
  if (arguments.command == "plan" || arguments.dry_run) {
    fmt::print("{}", launch::plan_text(plan));
    return runtime::kExitOk;
  }
  if (arguments.command == "status") {
    fmt::print("{}", launch::status_text(plan));
    return runtime::kExitOk;
  }
  if (arguments.command == "report") {
    fmt::print("{}\n", (launch::write_report(plan) / "report.html").string());
    return runtime::kExitOk;
  }
  const auto file = launch::save_plan(plan);
  launch::write_descriptions(plan);
  const auto environment = launch::read_job_environment();
  launch::install_stop_signals(plan.preemption);
  if (!arguments.slurm) {
    launch::watch_time_limit(environment, std::chrono::seconds(plan.preemption.margin_seconds));
  }
  int code = runtime::kExitOk;
  if (arguments.command == "prepare") {
    code = launch::prepare_all(plan, arguments.ranks);
  } else if (arguments.command == "trial") {
    code = run_some(plan, arguments);
  } else {
    code = run_all(plan, file, arguments);
  }
  if (arguments.sweeper != 0) {
    return code;
  }
  if (code == runtime::kExitRequeue) {
    (void)launch::requeue_job(environment, plan.preemption);
  }
  return code == launch::kHeldElsewhere ? runtime::kExitRequeue : code;
}

void add_commands(CLI::App& app, Arguments& arguments) {
  const auto command = [&](const std::string& name, const std::string& what) {
    CLI::App* sub = app.add_subcommand(name, what);
    sub->add_option("sweep", arguments.file, "sweep file (YAML)")->required();
    sub->add_option("--set", arguments.overrides,
                    "key.path=value: overrides one setting of every trial; repeatable")
        ->take_all()
        ->expected(1)
        ->allow_extra_args(false);
    sub->callback([&arguments, name] { arguments.command = name; });
    return sub;
  };
  const auto ranks = [&](CLI::App* sub) {
    sub->add_option(
           "--ranks", arguments.ranks,
           "ranks at once (default: the cores of this process); data generation takes them "
           "all (default: as many as a trial)")
        ->check(launch::more_than_zero);
  };
  command("plan", "the trials, the data they share, the commands; touches nothing");
  command("status", "how far each trial is");
  command("report", "compares what is finished: a page, tables, plots");
  for (CLI::App* sub : {command("run", "runs what is pending, here or in Slurm"),
                        command("resume", "runs what is pending or failed, and only that")}) {
    ranks(sub);
    sub->add_flag("--dry-run", arguments.dry_run, "print the plan and touch nothing");
    auto* slurm = sub->add_flag("--slurm", arguments.slurm,
                                "submit a job that makes the data and an array, a task a trial");
    sub->add_option("--at-once", arguments.slurm_options.at_once, "tasks of the array at once")
        ->check(launch::more_than_zero)
        ->needs(slurm);
    sub->add_option("--sbatch-option", arguments.slurm_options.sbatch_options,
                    "an option of sbatch, as --sbatch-option=--partition=long; repeatable")
        ->take_all()
        ->expected(1)
        ->allow_extra_args(false)
        ->needs(slurm);
    sub->add_option("--script", arguments.slurm_options.script, "the batch script")
        ->capture_default_str()
        ->needs(slurm);
  }
  ranks(command("prepare", "makes the data that trials share"));
  CLI::App* trial = command("trial", "runs one trial, or several that are trained in one job");
  trial->add_option("--index", arguments.indices, "of the trial, as `plan` shows it; repeatable")
      ->required();
  trial->add_flag("--job", arguments.whole_job, "and those that are trained in one job with it");
  trial->add_option("--sweeper", arguments.sweeper, "the process that asked for it")->group("");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("desta-sweep: runs the many trials that a sweep file describes, and compares them.",
               "desta-sweep");
  app.set_version_flag("--version", DESTA_VERSION);
  app.require_subcommand(1);
  Arguments arguments;
  add_commands(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? runtime::kExitOk : runtime::kExitBadInput;
  }
  runtime::init_logging(0);
  return launch::report_errors([&] { return work(arguments); });
}
