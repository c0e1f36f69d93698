#include "launch/program.h"

#include <ATen/Parallel.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "desta_version.h"
#include "models/torch_util.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/core/log.h"
#include "runtime/transport/mpi_transport.h"

namespace desta::launch {
namespace {

// Prints the error and, where other ranks may be waiting, ends the job at once. What is wrong for all
// ranks is said by the first alone: the others give it time to end them.
int fail(const runtime::MpiEnvironment& mpi, const std::string& message, int code) {
  if (mpi.rank() != 0) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
  runtime::log().error("{}", message);
  if (mpi.size() > 1) {
    std::fflush(nullptr);
    runtime::MpiEnvironment::abort_job(code);
  }
  return code;
}

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

}  // namespace

Program::Program(std::string name, std::string what) : app_(name + ": " + what, name) {
  app_.set_version_flag("--version", DESTA_VERSION);
  app_.add_option("config", config_path_, "configuration file (YAML)")->required();
  app_.add_option("--set", overrides_, "key.path=value: overrides one setting; repeatable")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app_.add_flag("--dry-run", dry_run_, "print the plan and touch nothing");
}

int Program::run(int argc, char** argv, const std::function<void(Job&)>& body) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app_.exit(error) == 0 ? runtime::kExitOk : runtime::kExitBadInput;
  }
  models::keep_freed_memory();
  runtime::MpiEnvironment mpi(&argc, &argv);
  runtime::init_logging(mpi.rank());
  try {
    Job job{load_config(config_path_, overrides_), mpi, dry_run_};
    at::set_num_threads(static_cast<int>(job.config.runtime.threads));
    job.config.training.models.local_rank = mpi.local_rank();
    if (!dry_run_) {
      report_blas(mpi);
    }
    body(job);
  } catch (const runtime::Error& error) {
    return fail(mpi, error.what(), runtime::exit_code(error.kind()));
  } catch (const std::exception& error) {
    return fail(mpi, error.what(), runtime::kExitFailure);
  }
  return runtime::kExitOk;
}

void run_actors(Job& job, const std::function<void(runtime::ActorSystem&)>& provide,
                const std::function<void(runtime::ActorSystem&)>& on_node_0) {
  const auto world = runtime::make_communicator(job.mpi.size() > 1 ? "mpi" : "local", job.mpi);
  const auto transport = runtime::make_mpi_transport(job.mpi);
  runtime::ActorSystem system(*transport);
  provide(system);
  world->barrier();
  if (system.node() != 0) {
    system.run_until_shutdown();
    return;
  }
  try {
    on_node_0(system);
    system.shutdown();
  } catch (const runtime::Error& error) {
    // Before the actor system is taken down: its actors may sit in an exchange that will never come.
    if (job.mpi.size() > 1) {
      fail(job.mpi, error.what(), runtime::exit_code(error.kind()));
    }
    throw;
  } catch (const std::exception& error) {
    if (job.mpi.size() > 1) {
      fail(job.mpi, error.what(), runtime::kExitFailure);
    }
    throw;
  }
}

}  // namespace desta::launch
