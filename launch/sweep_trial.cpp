#include "launch/sweep_trial.h"

#include <unistd.h>

#include <chrono>
#include <memory>
#include <thread>

#include "desta_version.h"
#include "launch/sweep_process.h"
#include "launch/sweep_state.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/host_name.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

// What a child of ours runs is ours until it is gone too.
constexpr auto kInherited = runtime::FileLock::Inherit::kByChildren;

// Rounds go on with other samples and other dropout.
constexpr std::uint64_t kSeedsARound = 1000;

fs::path marker(const Plan& plan, const Trial& trial) {
  return plan.folder / "prepared" / (trial.data_key + ".json");
}

// What distinguishes a round from the configuration of its trial.
std::vector<std::string> round_arguments(const Plan& plan, const Trial& trial, std::int64_t round) {
  std::vector<std::string> arguments = {TrialFolder(plan.trial_folder(trial)).config().string()};
  if (plan.rounds == 1) {
    return arguments;
  }
  const auto set = [&](const std::string& key, const std::string& value) {
    arguments.insert(arguments.end(), {"--set", key + "=" + value});
  };
  set("run.folder", plan.run_folder(trial, round).string());
  if (round > 1) {
    set("run.seed",
        std::to_string(trial.seed + kSeedsARound * static_cast<std::uint64_t>(round - 1)));
    set("train.start_from", plan.run_folder(trial, round - 1).string());
  }
  return arguments;
}

std::string description(const Trial& trial) {
  nlohmann::ordered_json settings = nlohmann::ordered_json::object();
  for (const auto& setting : trial.settings) {
    settings[setting.key] = setting.value;
  }
  const nlohmann::ordered_json json = {{"index", trial.index},
                                       {"condition", trial.condition},
                                       {"seed", trial.seed},
                                       {"overrides", settings}};
  return json.dump(2) + "\n";
}

void write_if_new(const fs::path& path, const std::string& text) {
  if (!fs::exists(path) || runtime::read_file(path) != text) {
    runtime::write_file_atomically(path, text);
  }
}

// A trial's state as it goes on; whoever makes one holds the trial's lock.
class Course {
 public:
  Course(const Plan& plan, const Trial& trial, pid_t sweeper)
      : plan_(plan), trial_(trial), folder_(plan.trial_folder(trial)), state_(folder_.current()) {
    state_.status = TrialStatus::kRunning;
    state_.attempts += 1;
    state_.exit_code = 0;
    state_.message.clear();
    state_.started = utc_now();
    state_.ended.clear();
    state_.host = runtime::host_name();
    state_.pid = ::getpid();
    state_.sweeper = sweeper;
    state_.version = DESTA_VERSION;
  }

  [[nodiscard]] const Trial& trial() const { return trial_; }
  [[nodiscard]] bool has_to_train() const {
    return !fs::exists(plan_.run_folder(trial_, plan_.rounds) / "evaluation.json");
  }

  // It is being run from now on.
  void start() { folder_.write(state_); }

  // Does what is still to do, one program after the other.
  int run() {
    const auto [code, message] = prepare(plan_, trial_, 0);
    if (code != runtime::kExitOk) {
      return end({.code = code, .stopped = code == runtime::kExitRequeue, .message = message});
    }
    for (std::int64_t round = 1; round <= plan_.rounds; ++round) {
      if (fs::exists(plan_.run_folder(trial_, round) / "evaluation.json")) {
        continue;
      }
      state_.round = round;
      folder_.write(state_);
      for (const auto& command :
           {train_command(plan_, trial_, round), evaluation_command(plan_, trial_, round)}) {
        if (runtime::stop_is_due()) {
          return end({.stopped = true, .message = "stopped by " + runtime::stop_reason()});
        }
        const Ending ending = run_to_end(command, folder_.log());
        if (ending.code != runtime::kExitOk) {
          return end(ending);
        }
      }
    }
    state_.round = plan_.rounds;
    return end({});
  }

  // Writes how it has ended; returns its exit code.
  int end(const Ending& ending) {
    state_.ended = utc_now();
    state_.exit_code = ending.code;
    state_.message = ending.message;
    int code = runtime::kExitOk;
    state_.status = TrialStatus::kDone;
    if (ending.stopped) {
      state_.status = TrialStatus::kPending;
      code = runtime::kExitRequeue;
    } else if (ending.code != runtime::kExitOk) {
      state_.status = TrialStatus::kFailed;
      code = runtime::kExitFailure;
    }
    folder_.write(state_);
    return code;
  }

 private:
  const Plan& plan_;
  const Trial& trial_;
  TrialFolder folder_;
  TrialState state_;
};

// What several have to train they train in one job. How it ends matters only if it was stopped: each trial's
// own training then finds that it is done, or goes on alone and says what is wrong.
Ending train_together(const Plan& plan, const std::vector<std::unique_ptr<Course>>& courses) {
  std::vector<const Trial*> trials;
  for (const auto& course : courses) {
    if (course->has_to_train() && prepare(plan, course->trial(), 0).first == runtime::kExitOk) {
      trials.push_back(&course->trial());
    }
  }
  if (trials.size() < 2 || runtime::stop_is_due()) {
    return {};
  }
  const fs::path log = TrialFolder(plan.trial_folder(*trials.front())).log();
  for (const Trial* trial : trials) {
    runtime::log().info("{}: trained with {} others; log: {}", trial->id, trials.size() - 1, log.string());
  }
  const Ending ending = run_to_end(train_command(plan, trials), log);
  if (ending.code != runtime::kExitOk && !ending.stopped) {
    runtime::log().warn("training {} trials at once ended with {} ({}); each goes on by itself",
                        trials.size(), ending.code, ending.message);
  }
  return ending;
}

}  // namespace

CommandLine datagen_command(const Plan& plan, const Trial& trial, std::int64_t ranks) {
  return command_line(plan.launcher, ranks > 0 ? ranks : trial.other_ranks, "desta-datagen",
                      {TrialFolder(plan.trial_folder(trial)).config().string()});
}

CommandLine train_command(const Plan& plan, const Trial& trial, std::int64_t round) {
  return command_line(plan.launcher, trial.train_ranks, "desta-train",
                      round_arguments(plan, trial, round));
}

CommandLine train_command(const Plan& plan, const std::vector<const Trial*>& trials) {
  std::vector<std::string> configs;
  for (const Trial* trial : trials) {
    configs.push_back(TrialFolder(plan.trial_folder(*trial)).config().string());
  }
  return command_line(plan.launcher, trials.front()->train_ranks, "desta-train", configs);
}

CommandLine evaluation_command(const Plan& plan, const Trial& trial, std::int64_t round) {
  return command_line(plan.launcher, trial.other_ranks, "desta-eval",
                      round_arguments(plan, trial, round));
}

void write_descriptions(const Plan& plan) {
  write_if_new(plan.folder / "sweep.yaml", plan.sweep_text);
  for (const auto& trial : plan.trials) {
    const TrialFolder folder(plan.trial_folder(trial));
    write_if_new(folder.description(), description(trial));
    write_if_new(folder.config(), trial.config);
  }
}

bool is_prepared(const Plan& plan, const Trial& trial) {
  return trial.data_key.empty() || fs::exists(marker(plan, trial));
}

std::pair<int, std::string> prepare(const Plan& plan, const Trial& trial, std::int64_t ranks) {
  if (is_prepared(plan, trial)) {
    return {runtime::kExitOk, ""};
  }
  const fs::path folder = plan.folder / "prepared";
  // In the data's folder: another sweep may use it too.
  const fs::path lock_file = fs::path(trial.data_folder) / "lock";
  auto lock = runtime::FileLock::try_take(lock_file, kInherited);
  while (!lock) {
    if (runtime::stop_is_due()) {
      return {runtime::kExitRequeue, "stopped by " + runtime::stop_reason()};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    lock = runtime::FileLock::try_take(lock_file, kInherited);
  }
  if (is_prepared(plan, trial)) {
    return {runtime::kExitOk, ""};
  }
  fs::create_directories(folder);
  const fs::path log = folder / (trial.data_key + ".txt");
  runtime::log().info("making the data of '{}' in {} (log: {})", trial.condition, trial.data_folder,
                      log.string());
  const Ending ending = run_to_end(datagen_command(plan, trial, ranks), log);
  if (ending.stopped) {
    return {runtime::kExitRequeue, ending.message};
  }
  if (ending.code != runtime::kExitOk) {
    return {runtime::kExitFailure, "its data could not be made: " + ending.message};
  }
  const nlohmann::ordered_json done = {{"key", trial.data_key},
                                       {"folder", trial.data_folder},
                                       {"condition", trial.condition},
                                       {"ended", utc_now()}};
  runtime::write_file_atomically(marker(plan, trial), done.dump(2) + "\n");
  return {runtime::kExitOk, ""};
}

int prepare_all(const Plan& plan, std::int64_t ranks) {
  int code = runtime::kExitOk;
  for (const Trial* trial : plan.data_jobs()) {
    const auto [ended, message] = prepare(plan, *trial, ranks);
    if (ended == runtime::kExitRequeue) {
      return ended;
    }
    if (ended != runtime::kExitOk) {
      code = ended;
      runtime::log().error("'{}': {}", trial->condition, message);
    }
  }
  return code;
}

int run_trials(const Plan& plan, const std::vector<const Trial*>& trials, pid_t sweeper) {
  std::vector<runtime::FileLock> locks;
  std::vector<std::unique_ptr<Course>> courses;
  std::size_t held_elsewhere = 0;
  for (const Trial* trial : trials) {
    const TrialFolder folder(plan.trial_folder(*trial));
    auto lock = runtime::FileLock::try_take(folder.lock(), kInherited);
    const TrialState before = folder.read();
    if (!lock) {
      runtime::log().info("{}: is being run by process {} on {}", trial->id, before.pid, before.host);
      ++held_elsewhere;
    } else if (before.status == TrialStatus::kDone) {
      runtime::log().info("{}: done already", trial->id);
    } else {
      locks.push_back(std::move(*lock));
      courses.push_back(std::make_unique<Course>(plan, *trial, sweeper));
    }
  }
  for (const auto& course : courses) {
    course->start();
  }
  const Ending trained = train_together(plan, courses);
  int code = held_elsewhere > 0 ? kHeldElsewhere : runtime::kExitOk;
  for (const auto& course : courses) {
    const int ended = trained.stopped ? course->end(trained) : course->run();
    if (ended != runtime::kExitOk && code != runtime::kExitRequeue) {
      code = ended;
    }
  }
  return code;
}

}  // namespace desta::launch
