#include "launch/streamed_training.h"

#include <limits>
#include <memory>
#include <optional>
#include <thread>

#include "actors/coordinator.h"
#include "actors/extractor_actor.h"
#include "actors/generator_pool.h"
#include "actors/text_workers.h"
#include "launch/measured_manifest.h"
#include "launch/row_plan.h"
#include "launch/synthetic_sets.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"

namespace desta::launch {
namespace {

using actors::RowSupply;

// A set's rows, and the actor that keeps them.
class StreamedSet {
 public:
  StreamedSet(runtime::ActorSystem& system, const JobConfig& config, const std::string& name,
              const std::string& manifest, const datagen::StreamOptions& options,
              const std::filesystem::path& record)
      : dataset_(system.spawn<actors::DatasetActor>(
            {.name = "dataset/" + name}, config.dataset_folder(name).string(),
            static_cast<std::uint64_t>(config.data.rows_per_shard))),
        supply_(dataset_, config.dataset_folder(name),
                plan_rows(config, measure_manifest(system, name, manifest, config.data.thresholds)),
                options, record) {
    runtime::log().info("{}: {} rows are planned, {} of them are there", name, supply_.size(),
                        supply_.written());
  }
  [[nodiscard]] RowSupply& supply() { return supply_; }

 private:
  runtime::ActorRef<actors::DatasetActor> dataset_;
  RowSupply supply_;
};

// Rows that are not learned from: all are written, as soon as can be.
datagen::StreamOptions all_at_once() {
  constexpr auto kAll = std::numeric_limits<std::int64_t>::max();
  return {.step_rows = 1, .start_rows = kAll, .ahead_rows = kAll};
}

datagen::StreamOptions stream_options(const JobConfig& config) {
  return {.step_rows = config.training.batch.global_size,
          .start_rows = config.placement.start_rows,
          .ahead_rows = config.placement.ahead_rows,
          .seed = config.training.seed};
}

// Generators other than the training ranks, where the configuration has some or lets some join.
class OtherWriters {
 public:
  OtherWriters(runtime::ActorSystem& system, const JobConfig& config)
      : at_once_(static_cast<std::size_t>(config.data.decoding.batch_size)),
        alone_(config.placement.where != "colocated" && config.runtime.join.empty()) {
    if (config.placement.where != "colocated" || !config.runtime.join.empty()) {
      pool_.emplace(system, static_cast<int>(config.training.training_ranks()));
    }
  }
  [[nodiscard]] std::unique_ptr<actors::TextWorkers> serve(RowSupply& supply) {
    return pool_.has_value() ? std::make_unique<actors::TextWorkers>(*pool_, supply, at_once_, alone_)
                             : nullptr;
  }

 private:
  std::size_t at_once_;
  bool alone_;
  std::optional<actors::GeneratorPool> pool_;
};

// Waits until others have written all of a set. False when the job was asked to stop.
bool wait_for_all(RowSupply& supply, actors::TextWorkers& workers) {
  constexpr std::chrono::milliseconds kLook{50};
  while (!supply.is_complete()) {
    workers.check();
    if (runtime::stop_is_due()) {
      return false;
    }
    std::this_thread::sleep_for(kLook);
  }
  supply.flush();
  return true;
}

}  // namespace

void check_streamed(const Job& job) {
  const JobConfig& config = job.config;
  const auto refuse = [&](const std::string& why) {
    throw runtime::ConfigError("generation.placement is {}: {}", config.placement.where, why);
  };
  if (!job.others.empty()) {
    refuse("one trial a job; make the dataset with desta-datagen first");
  }
  if (config.training.pipeline.schedule == "ahead") {
    refuse("pipeline.schedule ahead knows all rows beforehand; use another");
  }
  if (config.placement.where == "colocated" && config.training.train.what == "lora") {
    refuse("train.what is lora, and texts are to be written by the LLM as it was; use dedicated ranks");
  }
  if (config.placement.where == "workers" && config.runtime.join.empty()) {
    refuse("workers can join only where runtime.join says");
  }
}

void register_writing_actors() {
  actors::register_extractor_actor();
  actors::register_dataset_actor();
  actors::register_generator_actor();
}

void provide_for_writing(JobConfig& config, runtime::ActorSystem& system) {
  system.provide<datagen::Thresholds>(config.data.thresholds);
  system.provide<datagen::DecodingOptions>(config.data.decoding);
  system.provide<trainer::ModelOptions>(config.training.models);
}

bool train_on_stream(Job& job, runtime::ActorSystem& system, const trainer::TrialSet& trials,
                     const std::function<void()>& begin) {
  const JobConfig& config = job.config;
  const trainer::TrainingOptions& options = trials.common();
  speak(config);
  const auto manifests = manifests_of(config);
  std::optional<StreamedSet> validation;
  if (!options.validation.empty()) {
    validation.emplace(system, config, "validation", manifests.at("validation"), all_at_once(),
                       std::filesystem::path());
  }
  StreamedSet training(system, config, "train", manifests.at("train"), stream_options(config),
                       std::filesystem::path(options.folder) / "stream.jsonl");
  RowSupply& supply = training.supply();
  OtherWriters others(system, config);
  actors::Coordinator coordinator(system, trials, supply.info(options.epochs, options.steps));
  begin();
  if (validation.has_value()) {
    RowSupply& rows = validation->supply();
    const auto workers = others.serve(rows);
    if (!(options.colocated.has_value() ? coordinator.write_all(rows) : wait_for_all(rows, *workers))) {
      return false;
    }
  }
  const auto workers = others.serve(supply);
  coordinator.supply_from(supply, workers.get());
  return coordinator.run();
}

}  // namespace desta::launch
