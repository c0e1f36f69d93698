#include "launch/actor_job.h"

#include <ATen/Parallel.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "desta_version.h"
#include "models/safetensors.h"
#include "runtime/actor/hang_watch.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"
#include "runtime/telemetry/status_server.h"
#include "runtime/transport/elastic_transport.h"
#include "runtime/transport/mpi_transport.h"

namespace desta::launch {
namespace {

// Of the decoding settings so much is told where they differ: stop texts may be long, a build may not.
constexpr std::size_t kMostOfDecoding = 300;

std::filesystem::path token_path(const JobConfig& config) {
  return config.runtime.join_token.empty()
             ? std::filesystem::path(config.training.folder) / "join.token"
             : std::filesystem::path(config.runtime.join_token);
}

// What job and worker must have in common: the program, the LLM's weights (their folders may differ) and
// how it answers, so that a text does not depend on who wrote it.
runtime::JoinOptions join_options(const JobConfig& config) {
  runtime::register_system_types();
  const trainer::ModelOptions& models = config.training.models;
  runtime::JoinOptions options;
  options.build =
      fmt::format("desta {} with actors {}, models.llm {} in {}, generation {:016x} ({})", DESTA_VERSION,
                  runtime::detail::ActorRegistry::instance().fingerprint(),
                  models::model_fingerprint(models.llm), models.precision,
                  runtime::hash64(config.data.decoding.describe()),
                  config.data.decoding.describe().substr(0, kMostOfDecoding));
  return options;
}

// Where the calls of this process are recorded, if the configuration asks for it.
class CallTrace {
 public:
  CallTrace(const JobConfig& config, int node)
      : trace_(node), folder_(config.runtime.trace), node_(node) {
    if (folder_.empty()) {
      return;
    }
    std::error_code problem;
    std::filesystem::create_directories(folder_, problem);
    if (problem) {
      throw runtime::ConfigError("runtime.trace {}: cannot be made: {}; choose another folder",
                                 folder_.string(), problem.message());
    }
    trace_.enable(true);
  }
  [[nodiscard]] runtime::Trace& trace() { return trace_; }
  void write() const {
    if (!folder_.empty()) {
      trace_.write(folder_ / fmt::format("calls-{}.json", node_));
    }
  }

 private:
  runtime::Trace trace_;
  const std::filesystem::path folder_;
  const int node_;
};

runtime::ActorSystemOptions system_options(const JobConfig& config, CallTrace& trace) {
  runtime::ActorSystemOptions options;
  options.trace = &trace.trace();
  options.hang_after = std::chrono::seconds(config.runtime.hang_after_seconds);
  return options;
}

// What node 0 has beside its actors.
struct FrontDesk {
  std::optional<runtime::HangWatch> watch;
  std::optional<runtime::StatusServer> status;

  FrontDesk(const JobConfig& config, runtime::ActorSystem& system,
            runtime::ElasticTransport& transport) {
    watch.emplace(system);
    if (!config.runtime.status.empty()) {
      status.emplace(config.runtime.status, [&system] { return system.snapshot(); });
      runtime::log().info("status page at http://{}/", status->address());
    }
    if (!config.runtime.join.empty()) {
      const auto path = token_path(config);
      std::filesystem::create_directories(path.parent_path());
      transport.listen({config.runtime.join}, runtime::JoinToken::create(path),
                       join_options(config));
      runtime::log().info("workers may join: --join {} --token-file {}",
                          fmt::join(transport.addresses(), " or "), path.string());
    }
  }
};

}  // namespace

void run_actors(Job& job, const std::function<void(runtime::ActorSystem&)>& provide,
                const std::function<void(runtime::ActorSystem&)>& on_node_0) {
  const auto world = runtime::make_communicator(job.mpi.size() > 1 ? "mpi" : "local", job.mpi);
  const auto ranks = runtime::make_mpi_transport(job.mpi);
  runtime::ElasticTransport transport(*ranks);
  CallTrace trace(job.config, job.mpi.rank());
  runtime::ActorSystem system(transport, system_options(job.config, trace));
  provide(system);
  world->barrier();
  if (system.node() != 0) {
    (void)system.run_until_shutdown();
    trace.write();
    return;
  }
  try {
    {
      const FrontDesk desk(job.config, system, transport);
      on_node_0(system);
    }
    system.shutdown();
    trace.write();
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

int run_worker(const WorkerOptions& options, const Program::Provide& provide) {
  runtime::init_logging(0);
  return report_errors([&] {
    JobConfig config = load_config(options.config_path, options.overrides);
    at::set_num_threads(static_cast<int>(config.runtime.threads));
    const auto token = runtime::JoinToken::read(
        options.token_file.empty() ? token_path(config)
                                   : std::filesystem::path(options.token_file));
    runtime::JoinedTransport transport(options.address, token, join_options(config));
    runtime::init_logging(transport.node());
    CallTrace trace(config, transport.node());
    runtime::ActorSystem system(transport, system_options(config, trace));
    provide(config, system);
    runtime::log().info("joined the job at {} as node {}", options.address, transport.node());
    const bool ended = system.run_until_shutdown([] { return runtime::stop_is_due(); });
    trace.write();
    runtime::log().info("{}", ended ? "the job has ended" : "asked to stop: the job goes on");
    return runtime::kExitOk;
  });
}

}  // namespace desta::launch
