#include "launch/preemption.h"

#include <signal.h>

#include <cstdio>
#include <optional>
#include <sstream>

#include "launch/short_command.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"

namespace desta::launch {
namespace {

// slurmctld may be busy; it is asked once, so it has time.
constexpr auto kPatience = std::chrono::seconds(20);
void on_stop_signal(int number) { runtime::request_stop(number); }

int signal_number(const std::string& name) {
  if (name == "USR1") {
    return SIGUSR1;
  }
  if (name == "USR2") {
    return SIGUSR2;
  }
  if (name == "HUP") {
    return SIGHUP;
  }
  if (name == "INT") {
    return SIGINT;
  }
  if (name == "TERM") {
    return SIGTERM;
  }
  throw runtime::ConfigError("preemption.signal: '{}' is not one of USR1, USR2, TERM, INT, HUP",
                             name);
}

// The value of "Name=value" in a line of such words.
std::string field(const std::string& line, const std::string& name) {
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    if (word.starts_with(name + "=")) {
      return word.substr(name.size() + 1);
    }
  }
  return "";
}

// "01:02:03" or "4-01:02:03" in seconds; nothing for other words, as UNLIMITED.
std::optional<std::int64_t> slurm_seconds(const std::string& text) {
  std::int64_t days = 0;
  std::int64_t hours = 0;
  std::int64_t minutes = 0;
  std::int64_t seconds = 0;
  const auto dash = text.find('-');
  if (dash != std::string::npos && std::sscanf(text.c_str(), "%ld-", &days) != 1) {
    return std::nullopt;
  }
  const std::string clock = dash == std::string::npos ? text : text.substr(dash + 1);
  if (std::sscanf(clock.c_str(), "%ld:%ld:%ld", &hours, &minutes, &seconds) != 3) {
    return std::nullopt;
  }
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
}

}  // namespace

void install_stop_signals(const PreemptionOptions& options) {
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  ::sigemptyset(&action.sa_mask);
  for (const int number : {signal_number(options.signal), SIGTERM, SIGINT}) {
    action.sa_flags = SA_RESTART | (number == SIGINT ? SA_RESETHAND : 0);
    ::sigaction(number, &action, nullptr);
  }
}

void watch_time_limit(const JobEnvironment& environment, std::chrono::seconds margin) {
  const auto end = find_end_time(environment);
  if (!end) {
    return;
  }
  const auto now = std::chrono::system_clock::now();
  if (*end - margin > now) {
    runtime::set_stop_deadline(*end - margin);
    return;
  }
  runtime::log().warn(
      "the time limit is nearer than preemption.margin_seconds {}: stopping halfway "
      "to it",
      margin.count());
  runtime::set_stop_deadline(now + (*end - now) / 2);
}

bool is_ended_by_slurm(const std::string& job_line) {
  const std::string state = field(job_line, "JobState");
  if (state != "COMPLETING" && state != "CANCELLED") {
    return false;
  }
  const auto run = slurm_seconds(field(job_line, "RunTime"));
  const auto limit = slurm_seconds(field(job_line, "TimeLimit"));
  return !run || !limit || *run < *limit;
}

Requeue requeue_job(const JobEnvironment& environment, const PreemptionOptions& options) {
  if (environment.job_id.empty()) {
    runtime::log().info("no Slurm job to requeue: start the same command again to go on");
    return Requeue::kNotInSlurm;
  }
  const std::string target = environment.scontrol_target();
  if (!options.requeue) {
    runtime::log().info(
        "Slurm job {} is not requeued (preemption.requeue is false): start the "
        "same command again to go on",
        target);
    return Requeue::kNotAsked;
  }
  const auto job = run_briefly({"scontrol", "--oneliner", "show", "job", target}, kPatience);
  if (is_ended_by_slurm(job.output)) {
    runtime::log().info(
        "Slurm is ending job {} by itself, so it is not requeued: submit it again to "
        "go on",
        target);
    return Requeue::kEnding;
  }
  const auto answer = run_briefly({"scontrol", "requeue", target}, kPatience);
  if (!answer.found) {
    runtime::log().warn(
        "no scontrol here: Slurm job {} is not requeued; start the same command "
        "again to go on",
        target);
    return Requeue::kUnavailable;
  }
  if (answer.code != 0) {
    runtime::log().warn(
        "`scontrol requeue {}` failed with code {}{}{}; start the same command again "
        "to go on",
        target, answer.code, answer.output.empty() ? "" : ": ",
        answer.output.substr(0, answer.output.find('\n')));
    return Requeue::kUnavailable;
  }
  runtime::log().info("requeued Slurm job {}", target);
  return Requeue::kDone;
}

StopNotice::StopNotice()
    : watcher_([this](const std::stop_token& over) {
        std::unique_lock lock(mutex_);
        while (!over.stop_requested() && !runtime::stop_is_due()) {
          wake_.wait_for(lock, over, std::chrono::milliseconds(100), [] { return false; });
        }
        lock.unlock();
        if (!over.stop_requested()) {
          say(runtime::stop_reason());
        }
      }) {}

StopNotice::~StopNotice() = default;

void StopNotice::say(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (!said_) {
    said_ = true;
    runtime::log().info("stopping: {}", reason);
  }
}

}  // namespace desta::launch
