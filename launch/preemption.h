// Leaving when the scheduler wants the machine back: signals and the time limit become a stop
// request (runtime/core/stop_request.h), and a job that has stopped with all in order is handed
// back to Slurm's queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "launch/config.h"
#include "launch/job_environment.h"

namespace desta::launch {

// From now on the configured signal, SIGTERM and SIGINT ask to stop at the next good moment. A
// second SIGINT ends the process at once, as it would without us; a second SIGTERM does not: where
// both Slurm and mpirun want the job to end, each sends its own.
void install_stop_signals(const PreemptionOptions& options);

// Sets the stop deadline `margin` before the time limit, or halfway to it when that is past
// already: a short limit should leave time to get on. Nothing where no limit is known.
void watch_time_limit(const JobEnvironment& environment, std::chrono::seconds margin);

enum class Requeue {
  kDone,         // Slurm will start the job again
  kNotAsked,     // preemption.requeue is false
  kNotInSlurm,   // no Slurm job
  kEnding,       // Slurm ends the job for a reason of its own: cancelled, or requeued by another
  kUnavailable,  // no scontrol, or it refused
};

// Asks Slurm to put this job back into its queue (`scontrol requeue`) and logs in one line what
// came of it. Slurm kills the job's processes soon after, so all must be on disk before. For one
// rank. A job that is being cancelled could be requeued too and is not: whoever cancels it wants it
// gone.
Requeue requeue_job(const JobEnvironment& environment, const PreemptionOptions& options);

// Whether Slurm is ending this job before its time limit, by the line that `scontrol --oneliner
// show job` writes of it. False for a line that cannot be read.
[[nodiscard]] bool is_ended_by_slurm(const std::string& job_line);

// Logs "stopping: signal SIGUSR1" once, when a stop is asked for while it lives: a step may be
// long, and who sent the signal wants to know that it came.
class StopNotice {
 public:
  StopNotice();
  ~StopNotice();
  StopNotice(const StopNotice&) = delete;
  StopNotice& operator=(const StopNotice&) = delete;

  // Says so for this reason, if it has not been said yet.
  void say(const std::string& reason);

 private:
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool said_ = false;
  std::jthread watcher_;
};

}  // namespace desta::launch
