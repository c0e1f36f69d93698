// desta-train: trains the adapter through a pipeline of frozen stages.
#include <fmt/core.h>

#include "actors/coordinator.h"
#include "datagen/attribute_model.h"
#include "launch/generated_set.h"
#include "launch/layer_costs_choice.h"
#include "launch/measured_manifest.h"
#include "launch/actor_job.h"
#include "launch/program.h"
#include "launch/streamed_training.h"
#include "launch/training_plan.h"
#include "models/torch_util.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/collectives/nccl_communicator.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/log.h"
#include "trainer/replica_engine.h"
#include "trainer/training_layout.h"

namespace {

using desta::launch::Job;
using desta::runtime::Communicator;
using desta::launch::JobConfig;
using desta::trainer::TrainingOptions;
using desta::trainer::TrialSet;

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

// All configurations of the job, which cost and are cut alike.
std::vector<JobConfig> all_configs(const Job& job) {
  std::vector<JobConfig> configs = {job.config};
  configs.insert(configs.end(), job.others.begin(), job.others.end());
  for (JobConfig& config : configs) {
    config.training.pipeline.measured = job.config.training.pipeline.measured;
  }
  return configs;
}

TrialSet trials_of(const std::vector<JobConfig>& configs) {
  std::vector<TrainingOptions> trials;
  for (const JobConfig& config : configs) {
    trials.push_back(config.training);
    trials.back().selection = desta::launch::row_selection(config);
  }
  return TrialSet(std::move(trials));
}

void train(Job& job, const desta::launch::PlanFiles& files) {
  const TrainingOptions& options = job.config.training;
  // A plan may be made anywhere, for the ranks that the configuration asks for.
  const auto planned = static_cast<int>(options.training_ranks() + options.writing_ranks);
  for (const JobConfig& config : all_configs(job)) {
    if (config.placement.streams()) {
      desta::launch::check_streamed(job);
    }
  }
  for (const JobConfig& config : all_configs(job)) {
    desta::trainer::check_layout(config.training, job.dry_run ? planned : job.mpi.size(),
                                 job.environment.ranks_option());
  }
  // What layers take here tells nothing of a cluster: that is planned from counted operations and its speed.
  if (files.cluster.empty() || options.pipeline.costs != "measured") {
    desta::launch::settle_layer_costs(job, files.profile);
  }
  const std::vector<JobConfig> configs = all_configs(job);
  TrialSet trials = trials_of(configs);
  // What does not train is refused before anything is loaded.
  if (files.cluster.empty()) {
    (void)desta::trainer::schedule_of(trials, desta::trainer::cut_models(trials));
  }
  if (job.dry_run) {
    if (job.mpi.rank() == 0) {
      desta::launch::print_training_plan(trials, files);
    }
    return;
  }
  if (job.mpi.rank() == 0) {
    for (const TrainingOptions& trial : trials) {
      desta::runtime::log().info("run folder {}", trial.folder);  // read by launch/supervise.sh
    }
  }
  const bool streams = job.config.placement.streams();
  if (streams) {
    desta::launch::register_generation_actors();
  } else {
    desta::actors::register_stage_actor();
    desta::actors::register_trainer_actor();
  }
  auto attribute_models = desta::datagen::load_attribute_models(
      streams ? job.config.data.metadata.models : std::vector<std::string>());
  const Worlds worlds = make_worlds(job);
  desta::trainer::Links links = desta::trainer::make_links(*worlds.host, trials, worlds.gpu.get());
  desta::launch::run_actors(
      job,
      [&](desta::runtime::ActorSystem& system) {
        system.provide<TrialSet>(trials);
        system.provide<desta::trainer::Links>(links);
        if (streams) {
          desta::launch::provide_for_generation(job.config, system);
          system.provide<desta::datagen::AttributeModels>(attribute_models);
        }
      },
      [&](desta::runtime::ActorSystem& system) {
        // Once the run folders are ours.
        const auto write_configs = [&] {
          for (const JobConfig& config : configs) {
            desta::runtime::write_file_atomically(
                std::filesystem::path(config.training.folder) / "config.yaml",
                desta::launch::to_yaml(config));
          }
        };
        if (streams) {
          job.preempted = !desta::launch::train_on_stream(job, system, trials, write_configs);
          return;
        }
        desta::actors::Coordinator coordinator(system, trials);
        write_configs();
        job.preempted = !coordinator.run();
      });
}

}  // namespace

int main(int argc, char** argv) {
  desta::launch::Program program(
      "desta-train", "trains the adapter between a frozen Whisper and a frozen Llama. Start it with\n"
                     "mpirun -n (pipeline.stages x data_parallel.replicas) desta-train CONFIG; the same "
                     "command\nresumes a run that was stopped. Several configurations are trained at once, on "
                     "one copy of\nthe models, each into its own run.folder.");
  program.accept_several();
  desta::launch::PlanFiles files;
  const auto add_plan_option = [&](const std::string& name, std::string& file,
                                   const std::string& what) {
    return program.app().add_option(name, file, "with --dry-run: " + what)->needs("--dry-run");
  };
  add_plan_option("--schedule-csv", files.schedule, "write the schedule's table to this file");
  add_plan_option("--timeline", files.timeline,
                  "write the predicted step, with --compare the run's own, to this file, a picture (.svg) or a\n"
                  "Chrome trace (.json)")
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
