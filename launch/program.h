// What all programs share: the command line, the start of a rank, errors that become one line and an
// exit code.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/job_environment.h"
#include "launch/report_errors.h"
#include "runtime/actor/actor_system.h"
#include "runtime/collectives/communicator.h"
#include "runtime/transport/mpi_environment.h"

namespace desta::launch {

// What the body of a program gets.
struct Job {
  JobConfig config;
  std::vector<JobConfig> others;  // behind it, where the program takes several (Program::accept_several)
  runtime::MpiEnvironment& mpi;
  JobEnvironment environment;
  bool dry_run = false;
  // Set by the body when it has stopped before its end, with all in order, because it was asked to
  // (runtime/core/stop_request.h): the program then asks the scheduler for another go and returns 75.
  bool preempted = false;
};

class Program {
 public:
  Program(std::string name, std::string what);

  // For further options.
  [[nodiscard]] CLI::App& app() { return app_; }

  // More than one configuration may be given; --set holds for all. Settings of the whole job are the first one's.
  void accept_several();

  // With --join ADDRESS the program is a worker of a running job instead (launch/actor_job.h):
  // `register_types` makes its actors' types known, the same ones as in the job, and `provide` hands
  // this process's resources to the system.
  using Provide = std::function<void(JobConfig&, runtime::ActorSystem&)>;
  void serve_joined(std::function<void()> register_types, Provide provide);

  // Parses the command line, starts the rank, runs `body` and returns the exit code. An error of the
  // body is one line; in a job of several ranks it ends them all with the same exit code. Signals and
  // the time limit ask the body to stop; when any rank has set `preempted`, the job is requeued.
  int run(int argc, char** argv, const std::function<void(Job&)>& body);

 private:
  CLI::App app_;
  std::vector<std::string> config_paths_;
  CLI::Option* config_option_;
  std::vector<std::string> overrides_;
  bool dry_run_ = false;
  std::function<void()> register_types_;
  Provide provide_;
  std::string join_;
  std::string token_file_;
};

// Prints the error and, where other ranks may be waiting, ends the job at once; otherwise returns the
// exit code.
int fail(const runtime::MpiEnvironment& mpi, const std::string& message, int code);

}  // namespace desta::launch
