#include "launch/streamed_training.h"

#include <limits>
#include <memory>
#include <optional>
#include <thread>

#include "actors/coordinator.h"
#include "actors/generator_pool.h"
#include "actors/text_workers.h"
#include "launch/generated_set.h"
#include "launch/row_plan.h"
#include "launch/synthetic_sets.h"
#include "runtime/core/log.h"
#include "runtime/core/stop_request.h"

namespace desta::launch {
namespace {

using actors::RowSupply;

// Makes the supply of a set, and says how much of it is there.
void supply_from(GeneratedSet& set, const JobConfig& config, const datagen::StreamOptions& options,
                 const std::filesystem::path& record, std::optional<RowSupply>& supply) {
  supply.emplace(set.dataset, config.dataset_folder(set.name), std::move(set.planned), options, record);
  runtime::log().info("{}: {} rows are planned, {} of them are there", set.name, supply->size(),
                      supply->written());
}

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

bool train_on_stream(Job& job, runtime::ActorSystem& system, const trainer::TrialSet& trials,
                     const std::function<void()>& begin) {
  const JobConfig& config = job.config;
  const trainer::TrainingOptions& options = trials.common();
  speak(config);
  const auto manifests = manifests_of(config);
  std::optional<GeneratedSet> validation_set;
  std::optional<RowSupply> validation;
  if (!options.validation.empty()) {
    validation_set = open_set(system, config, "validation", manifests.at("validation"));
    supply_from(*validation_set, config, all_at_once(), {}, validation);
  }
  GeneratedSet training_set = open_set(system, config, "train", manifests.at("train"));
  std::optional<RowSupply> training;
  supply_from(training_set, config, stream_options(config),
              std::filesystem::path(options.folder) / "stream.jsonl", training);
  RowSupply& supply = *training;
  OtherWriters others(system, config);
  actors::Coordinator coordinator(system, trials, supply.info(options.epochs, options.steps));
  begin();
  if (validation.has_value()) {
    const auto workers = others.serve(*validation);
    if (!(options.colocated.has_value() ? coordinator.write_all(*validation)
                                        : wait_for_all(*validation, *workers))) {
      return false;
    }
    validation_set->log_losses();
  }
  auto workers = others.serve(supply);
  coordinator.supply_from(supply, workers.get());
  try {
    const bool whole = coordinator.run();
    workers.reset();
    supply.flush();  // what came after the last step
    training_set.log_losses();
    return whole;
  } catch (const runtime::Error&) {
    training_set.publish_what_is_done();
    throw;
  }
}

}  // namespace desta::launch
