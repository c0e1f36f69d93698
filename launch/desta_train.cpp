// desta-train: trains the adapter through a pipeline of frozen stages.
#include <fmt/core.h>

#include "actors/coordinator.h"
#include "launch/layer_costs_choice.h"
#include "launch/measured_manifest.h"
#include "launch/actor_job.h"
#include "launch/program.h"
#include "launch/training_plan.h"
#include "models/torch_util.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/collectives/nccl_communicator.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/log.h"
#include "trainer/replica_engine.h"

namespace {

using desta::launch::Job;
using desta::runtime::Communicator;
using desta::trainer::TrainingOptions;

struct Worlds {
  std::unique_ptr<Communicator> host;  // activations and, without GPUs, the adapter's gradient
  std::unique_ptr<Communicator> gpu;   // the adapter's gradient; null where it goes through the host
};

Worlds make_worlds(const Job& job) {
  const TrainingOptions& options = job.config.training;
  const std::string& backend = job.config.runtime.backend;
  const bool on_gpu =
      desta::models::choose_device(options.models.device, options.models.local_rank).is_cuda();
  if (backend == "nccl" && !on_gpu) {
    throw desta::runtime::ConfigError(
        "runtime.backend is nccl, but the models are in host memory: models.device is {} and this "
        "rank sees no GPU; use auto or mpi",
        options.models.device);
  }
  const desta::runtime::CommunicatorOptions limits{
      .timeout = std::chrono::seconds(job.config.runtime.timeout_seconds),
      .algorithm = job.config.runtime.all_reduce};
  Worlds worlds;
  worlds.host =
      desta::runtime::make_communicator(backend == "nccl" ? "auto" : backend, job.mpi, limits);
  if (backend == "nccl" ||
      (backend == "auto" && on_gpu && options.replicas > 1 && desta::runtime::nccl_is_built())) {
    worlds.gpu = desta::runtime::make_communicator("nccl", job.mpi, limits);
  }
  return worlds;
}

void train(Job& job, const desta::launch::PlanFiles& files) {
  const TrainingOptions& options = job.config.training;
  // A plan may be made anywhere, for the ranks that the configuration asks for.
  const auto planned = static_cast<int>(options.pipeline.stages * options.replicas);
  desta::trainer::check_layout(options, job.dry_run ? planned : job.mpi.size(),
                               job.environment.ranks_option());
  if (!files.cluster.empty() && options.pipeline.costs == "measured") {
    throw desta::runtime::ConfigError(
        "--cluster plans for another machine than this: set pipeline.costs to counted, or to a file that "
        "--profile has written there");
  }
  desta::launch::settle_layer_costs(job, files.profile);
  // What does not train is refused before anything is loaded.
  if (files.cluster.empty()) {
    (void)desta::trainer::schedule_of(options, desta::trainer::cut_models(options));
  }
  if (job.dry_run) {
    if (job.mpi.rank() == 0) {
      desta::launch::print_training_plan(options, files);
    }
    return;
  }
  if (job.mpi.rank() == 0) {
    desta::runtime::log().info("run folder {}", options.folder);  // read by launch/supervise.sh
  }
  desta::actors::register_stage_actor();
  desta::actors::register_trainer_actor();
  const Worlds worlds = make_worlds(job);
  desta::trainer::Links links =
      desta::trainer::make_links(*worlds.host, options, worlds.gpu.get());
  TrainingOptions shared = options;
  if (job.config.data.select == "matching") {
    shared.selection = desta::launch::row_selection(job.config);
  }
  desta::launch::run_actors(
      job,
      [&](desta::runtime::ActorSystem& system) {
        system.provide<TrainingOptions>(shared);
        system.provide<desta::trainer::Links>(links);
      },
      [&](desta::runtime::ActorSystem& system) {
        desta::actors::Coordinator coordinator(system, shared);
        // The run folder is ours now.
        desta::runtime::write_file_atomically(
            std::filesystem::path(options.folder) / "config.yaml",
            desta::launch::to_yaml(job.config));
        job.preempted = !coordinator.run();
      });
}

}  // namespace

int main(int argc, char** argv) {
  desta::launch::Program program(
      "desta-train", "trains the adapter between a frozen Whisper and a frozen Llama. Start it with\n"
                     "mpirun -n (pipeline.stages x data_parallel.replicas) desta-train CONFIG; the same "
                     "command\nresumes a run that was stopped.");
  desta::launch::PlanFiles files;
  const auto add_plan_option = [&](const std::string& name, std::string& file,
                                   const std::string& what) {
    return program.app().add_option(name, file, "with --dry-run: " + what)->needs("--dry-run");
  };
  add_plan_option("--schedule-csv", files.schedule, "write the schedule's table to this file");
  add_plan_option("--timeline", files.timeline,
                  "write the predicted step to this file, a picture (.svg) or a Chrome trace (.json)")
      ->check([](const std::string& file) {
        return file.ends_with(".svg") || file.ends_with(".json")
                   ? std::string()
                   : "--timeline is '" + file + "'; end it in .svg or .json";
      });
  add_plan_option("--cluster", files.cluster,
                  "plan for the cluster that this YAML file describes (configs/clusters)");
  add_plan_option("--compare", files.compare,
                  "print how the steps of a run with run.trace went (its folder), beside the prediction");
  add_plan_option("--profile", files.profile,
                  "measure what layers cost on this machine and write it to this file, for pipeline.costs")
      ->excludes("--cluster");
  return program.run(argc, argv, [&files](Job& job) { train(job, files); });
}
