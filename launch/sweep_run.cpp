#include "launch/sweep_run.h"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <list>
#include <thread>

#include "launch/sweep_process.h"
#include "launch/sweep_state.h"
#include "launch/sweep_trial.h"
#include "runtime/core/error.h"
#include "runtime/core/host_name.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"

namespace desta::launch {
namespace {

constexpr auto kPause = std::chrono::milliseconds(50);

// Trials that one process runs.
struct Running {
  std::vector<const Trial*> trials;
  ChildProcess process;

  [[nodiscard]] std::int64_t ranks() const { return trials.front()->ranks(); }
};

// The trial is held by processes whose sweeper, on this host, is gone: they are about to end.
bool is_orphan(const TrialState& state) {
  return state.sweeper > 0 && state.host == runtime::host_name() && ::kill(state.sweeper, 0) != 0 &&
         errno == ESRCH;
}

class Scheduler {
 public:
  Scheduler(const Plan& plan, const std::filesystem::path& plan_file, const RunOptions& options,
            std::list<const Trial*> trials, std::size_t failed)
      : plan_(plan),
        plan_file_(plan_file),
        options_(options),
        waiting_(std::move(trials)),
        finished_(plan.trials.size() - waiting_.size()),
        failed_(failed) {}

  int run() {
    while (!waiting_.empty() || !running_.empty()) {
      if (!stopping_ && runtime::stop_is_due()) {
        stop("stopping: " + runtime::stop_reason());
      }
      if (!stopping_) {
        start_what_fits();
      }
      collect();
      if (running_.empty() && (stopping_ || (!waiting_.empty() && others_alone_remain()))) {
        break;
      }
      std::this_thread::sleep_for(kPause);
    }
    return result();
  }

 private:
  [[nodiscard]] TrialFolder folder(const Trial& trial) const {
    return TrialFolder(plan_.trial_folder(trial));
  }

  void start_what_fits() {
    for (auto next = waiting_.begin(); next != waiting_.end();) {
      const Trial& trial = **next;
      const bool fits = ranks_ + trial.ranks() <= options_.ranks || running_.empty();
      if (fits && !folder(trial).is_locked()) {
        start(take_job_of(trial));
        next = waiting_.begin();
      } else {
        ++next;
      }
    }
  }

  // The trial and those that wait to be trained in one job with it; they wait no more.
  std::vector<const Trial*> take_job_of(const Trial& trial) {
    std::vector<const Trial*> job;
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if ((*it)->job != trial.job || folder(**it).is_locked()) {
        ++it;
        continue;
      }
      if (folder(**it).current().status == TrialStatus::kDone) {
        ++finished_;  // by another sweeper
      } else {
        job.push_back(*it);
      }
      it = waiting_.erase(it);
    }
    return job;
  }

  void start(std::vector<const Trial*> job) {
    if (job.empty()) {
      return;
    }
    const Trial& first = *job.front();
    if (first.ranks() > options_.ranks) {
      runtime::log().warn("{} needs {} ranks, more than the {} allowed: it runs alone", first.id,
                          first.ranks(), options_.ranks);
    }
    std::vector<std::string> command = {sibling("desta-sweep"), "trial", plan_file_.string(), "--sweeper",
                                        std::to_string(::getpid())};
    for (const Trial* trial : job) {
      runtime::log().info("started {}", trial->id);
      command.insert(command.end(), {"--index", std::to_string(trial->index)});
    }
    ranks_ += first.ranks();
    running_.push_back({std::move(job), ChildProcess(command, folder(first).log())});
  }

  void collect() {
    for (auto it = running_.begin(); it != running_.end();) {
      const auto code = it->process.poll();
      if (!code) {
        ++it;
        continue;
      }
      ranks_ -= it->ranks();
      for (const Trial* trial : it->trials) {
        ended(*trial, *code);
      }
      it = running_.erase(it);
    }
  }

  // The process that ran the trial has ended with this code.
  void ended(const Trial& trial, int code) {
    TrialState state = folder(trial).read();
    const auto place = [&] { return fmt::format("[{}/{}]", finished_, plan_.trials.size()); };
    if (state.status == TrialStatus::kDone) {
      ++finished_;
      runtime::log().info("{} done {}", place(), trial.id);
    } else if (code == kHeldElsewhere || (code < 128 && state.status == TrialStatus::kRunning &&
                                          folder(trial).is_locked())) {
      waiting_.push_back(&trial);
    } else if (code == runtime::kExitRequeue || stopping_) {
      waiting_.push_back(&trial);
      if (!stopping_) {
        stop(fmt::format("stopping: {} asked to be started again ({})", trial.id, state.message));
      }
    } else {
      ++finished_;
      ++failed_;
      if (state.status != TrialStatus::kFailed) {  // its process could not say what happened
        state.status = TrialStatus::kFailed;
        state.exit_code = code;
        state.ended = utc_now();
        state.message = last_error(folder(trial).log(), 0);
        if (code > 128) {
          state.message = fmt::format("the trial's process was ended by signal {}", code - 128);
        }
        folder(trial).write(state);
      }
      runtime::log().error("{} failed {}: {}", place(), trial.id, state.message);
    }
  }

  void stop(const std::string& why) {
    stopping_ = true;
    runtime::log().info("{}", why);
    for (const auto& entry : running_) {
      entry.process.signal(SIGTERM);
    }
  }

  // What waits is in the hands of another sweeper, or of a scheduler's task.
  [[nodiscard]] bool others_alone_remain() const {
    return std::all_of(waiting_.begin(), waiting_.end(), [&](const Trial* trial) {
      return folder(*trial).is_locked() && !is_orphan(folder(*trial).read());
    });
  }

  [[nodiscard]] int result() const {
    const std::string rest =
        waiting_.empty() ? ""
                         : fmt::format(", {} {}", waiting_.size(),
                                       stopping_ ? "pending" : "being run by another process");
    runtime::log().info("{} of {} trials are done, {} failed{}", finished_ - failed_,
                        plan_.trials.size(), failed_, rest);
    if (!waiting_.empty()) {
      return stopping_ ? runtime::kExitRequeue : kHeldElsewhere;
    }
    return failed_ > 0 ? runtime::kExitFailure : runtime::kExitOk;
  }

  const Plan& plan_;
  const std::filesystem::path& plan_file_;
  const RunOptions& options_;
  std::list<const Trial*> waiting_;
  std::list<Running> running_;
  std::int64_t ranks_ = 0;  // in use
  std::size_t finished_ = 0;
  std::size_t failed_ = 0;
  bool stopping_ = false;
};

// Makes the data of `trials`. Those whose data cannot be made fail with that message and are taken
// out; their number is added to `failed`. Returns false when it was stopped.
bool make_shared_data(const Plan& plan, std::int64_t ranks, std::list<const Trial*>& trials,
                      std::size_t& failed) {
  for (const Trial* job : plan.data_jobs()) {
    const auto needs_it = [&](const Trial* trial) { return trial->data_key == job->data_key; };
    if (std::none_of(trials.begin(), trials.end(), needs_it)) {
      continue;
    }
    const auto [code, message] = prepare(plan, *job, ranks);
    if (code == runtime::kExitRequeue) {
      runtime::log().info("{}", message);
      return false;
    }
    if (code == runtime::kExitOk) {
      continue;
    }
    runtime::log().error("'{}': {}", job->condition, message);
    failed += trials.remove_if([&](const Trial* trial) {
      const TrialFolder folder(plan.trial_folder(*trial));
      if (!needs_it(trial) || folder.is_locked()) {
        return false;
      }
      TrialState state = folder.current();
      state.status = TrialStatus::kFailed;
      state.attempts += 1;
      state.exit_code = code;
      state.message = message;
      state.ended = utc_now();
      folder.write(state);
      return true;
    });
  }
  return true;
}

}  // namespace

std::int64_t usable_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return ::sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1;
}

int run_here(const Plan& plan, const std::filesystem::path& plan_file, const RunOptions& options) {
  std::list<const Trial*> trials;
  std::size_t failed = 0;
  for (const auto& trial : plan.trials) {
    const auto status = TrialFolder(plan.trial_folder(trial)).current().status;
    if (status == TrialStatus::kFailed && !options.retry_failed) {
      ++failed;
    } else if (status != TrialStatus::kDone) {
      trials.push_back(&trial);
    }
  }
  if (const auto rest = trials.size() + failed; rest < plan.trials.size()) {
    runtime::log().info("going on: {} of {} trials were done before", plan.trials.size() - rest,
                        plan.trials.size());
  }
  if (failed > 0) {
    runtime::log().info("{} failed before; `desta-sweep resume` tries them again", failed);
  }
  if (!make_shared_data(plan, options.data_ranks, trials, failed)) {
    return runtime::kExitRequeue;
  }
  return Scheduler(plan, plan_file, options, std::move(trials), failed).run();
}

}  // namespace desta::launch
