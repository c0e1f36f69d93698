#include "launch/program.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <limits>
#include <optional>
#include <thread>
#include <utility>

#include "desta_version.h"
#include "launch/actor_job.h"
#include "launch/job_layout.h"
#include "launch/preemption.h"
#include "models/torch_util.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"
#include "runtime/core/wire.h"

namespace desta::launch {
namespace {

void report_blas(const runtime::MpiEnvironment& mpi) {
  if (mpi.rank() != 0) {
    return;
  }
  const models::BlasReport blas = models::probe_blas();
  runtime::log().info("BLAS {} ({:.0f} GFLOP/s)", blas.library, blas.gigaflops);
  if (blas.is_reference()) {
    runtime::log().warn("this BLAS is slow; install libopenblas-dev and choose it with "
                        "`update-alternatives --config libblas.so.3-x86_64-linux-gnu`");
  }
}

// What is done once in a job before its body. Pins this rank, so before there are threads.
void start(Job& job) {
  check_all_ranks_are_here(job.environment, job.mpi.size());
  install_stop_signals(job.config.preemption);
  if (job.mpi.rank() == 0) {
    job.environment.end_time = find_end_time(job.environment);
    watch_time_limit(job.environment,
                     std::chrono::seconds(job.config.preemption.margin_seconds));
  }
  const auto seats = take_seats(job.mpi, job.environment, job.config.runtime);
  if (job.mpi.rank() == 0) {
    for (const auto& line : describe_layout(job.environment, seats)) {
      runtime::log().info("{}", line);
    }
  }
}

// Why the job has stopped before its end; empty when it has not. Collective: the wish may have
// reached any rank.
std::string find_stop_reason(const Job& job) {
  bool preempted = false;
  std::string reason;
  const auto parts =
      job.mpi.all_gather(runtime::pack(std::pair(job.preempted, runtime::stop_reason())));
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    const auto [stopped, why] = runtime::unpack<std::pair<bool, std::string>>(parts[rank]);
    preempted = preempted || stopped;
    if (reason.empty() && !why.empty()) {
      reason = rank == 0 ? why : fmt::format("{} on rank {}", why, rank);
    }
  }
  return !preempted ? "" : reason.empty() ? "as asked" : reason;
}

int run_body(Job& job, const std::function<void(Job&)>& body) {
  // Signals are heard on every rank, but one speaks.
  std::optional<StopNotice> notice;
  if (job.mpi.rank() == 0) {
    notice.emplace();
  }
  body(job);
  const std::string reason = find_stop_reason(job);
  if (reason.empty()) {
    return runtime::kExitOk;
  }
  if (job.mpi.rank() == 0) {
    notice->say(reason);
    // While the other ranks wait for this one in MPI_Finalize: mpirun ends them all when one leaves
    // with this code.
    requeue_job(job.environment, job.config.preemption);
  }
  return runtime::kExitRequeue;
}

}  // namespace

// What is wrong for all ranks is said by the first alone: the others give it time to end them.
int fail(const runtime::MpiEnvironment& mpi, const std::string& message, int code) {
  if (mpi.rank() != 0) {
    std::signal(SIGTERM, SIG_DFL);  // mpirun's, a second after the first rank has gone
    std::this_thread::sleep_for(std::chrono::seconds(3));
  }
  runtime::log().error("{}", message);
  if (mpi.size() > 1) {
    std::fflush(nullptr);
    runtime::MpiEnvironment::abort_job(code);
  }
  return code;
}

Program::Program(std::string name, std::string what) : app_(name + ": " + what, name) {
  app_.set_version_flag("--version", DESTA_VERSION);
  config_option_ =
      app_.add_option("config", config_paths_, "configuration file (YAML)")->required()->expected(1);
  app_.add_option("--set", overrides_, "key.path=value: overrides one setting; repeatable")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app_.add_flag("--dry-run", dry_run_, "print the plan and touch nothing");
}

void Program::accept_several() {
  config_option_->expected(1, std::numeric_limits<int>::max())
      ->description("configuration files (YAML), one for each trial");
}

void Program::serve_joined(std::function<void()> register_types, Provide provide) {
  register_types_ = std::move(register_types);
  provide_ = std::move(provide);
  app_.add_option("--join", join_,
                  "join a running job as a worker: the address that the job has logged");
  app_.add_option("--token-file", token_file_,
                  "with --join: the job's secret; <run.folder>/join.token if not given")
      ->needs("--join");
}

int Program::run(int argc, char** argv, const std::function<void(Job&)>& body) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app_.exit(error) == 0 ? runtime::kExitOk : runtime::kExitBadInput;
  }
  const JobEnvironment environment = read_job_environment();
  if (!dry_run_) {
    install_stop_signals({});  // until the configuration is read
  }
  models::keep_freed_memory();
  if (!join_.empty()) {
    register_types_();
    return run_worker({join_, token_file_, config_paths_.front(), overrides_}, provide_);
  }
  runtime::MpiEnvironment mpi(&argc, &argv);
  runtime::init_logging(mpi.rank());
  try {
    std::vector<JobConfig> configs;
    for (const auto& path : config_paths_) {
      configs.push_back(load_config(path, overrides_));
      configs.back().training.models.local_rank = mpi.local_rank();
    }
    Job job{configs.front(), {configs.begin() + 1, configs.end()}, mpi, environment, dry_run_};
    if (dry_run_) {
      body(job);
      return runtime::kExitOk;
    }
    start(job);
    at::set_num_threads(static_cast<int>(job.config.runtime.threads));
    report_blas(mpi);
    return run_body(job, body);
  } catch (const runtime::Error& error) {
    return fail(mpi, error.what(), runtime::exit_code(error.kind()));
  } catch (const std::exception& error) {
    return fail(mpi, error.what(), runtime::kExitFailure);
  }
}

}  // namespace desta::launch
