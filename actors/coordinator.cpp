#include "actors/coordinator.h"

#include <cmath>

#include "runtime/core/log.h"
#include "runtime/core/progress.h"
#include "trainer/partition.h"

namespace desta::actors {
namespace {

// A run whose steps fail one after the other will not mend itself.
constexpr int kMaximumSkips = 3;

double megabytes(std::uint64_t bytes) { return static_cast<double>(bytes) / 1e6; }

}  // namespace

Coordinator::Coordinator(runtime::ActorSystem& system, const trainer::TrainingOptions& options)
    : system_(system),
      options_(options),
      metrics_(std::filesystem::path(options.folder) / "metrics.jsonl") {
  const auto stages = options_.pipeline.stages;
  const auto adapter = trainer::adapter_stage(
      trainer::partition(trainer::read_shapes(options_), stages));
  adapter_rank_ = static_cast<std::size_t>(adapter);
  for (std::int64_t replica = 0; replica < options_.replicas; ++replica) {
    for (std::int64_t stage = 0; stage < stages; ++stage) {
      stages_.push_back(system_.spawn<StageActor>(
          {.name = fmt::format("stage/{}/{}", replica, stage),
           .node = static_cast<int>(replica * stages + stage)},
          replica, stage));
    }
  }
  std::vector<runtime::Future<trainer::StageInfo>> infos;
  for (auto& stage : stages_) {
    infos.push_back(stage.call<&StageActor::info>());
  }
  infos_ = runtime::get_all(infos);
  for (std::int64_t replica = 0; replica < options_.replicas; ++replica) {
    trainers_.push_back(system_.spawn<TrainerActor>(
        {.name = fmt::format("trainer/{}", replica),
         .node = static_cast<int>(replica * stages + adapter)},
        replica, stages));
  }
  for (auto& trainer : trainers_) {
    trainer.ready().get();
  }
  start_line();
}

void Coordinator::start_line() {
  for (std::size_t rank = 0; rank < infos_.size(); ++rank) {
    const trainer::StageInfo& info = infos_[rank];
    runtime::log().info(
        "rank {} on {}: {}; frozen shard {:.1f} MB in {} tensors, adapter state {:.1f} MB, resident {:.1f} "
        "MB (overhead {:.1f} MB)",
        rank, info.device, info.part, megabytes(info.frozen_bytes), info.frozen_tensors,
        megabytes(info.adapter_bytes), megabytes(info.resident_bytes),
        megabytes(info.resident_bytes) - megabytes(info.frozen_bytes + info.adapter_bytes));
  }
  const trainer::StageInfo& adapter = infos_[adapter_rank_];
  for (const auto& problem : adapter.problems) {
    runtime::log().warn("checkpoint passed over: {}", problem);
  }
  // Each replica has read the run folder by itself.
  const auto stages = static_cast<std::size_t>(options_.pipeline.stages);
  for (std::size_t rank = adapter_rank_; rank < infos_.size(); rank += stages) {
    if (infos_[rank].start_step != adapter.start_step ||
        infos_[rank].adapter_checksum != adapter.adapter_checksum) {
      throw runtime::ConfigError(
          "ranks {} and {} start from different adapters (step {} of '{}' and step {} of '{}'): "
          "run.folder {} must be the same, whole folder on all nodes",
          adapter_rank_, rank, adapter.start_step, adapter.checkpoint, infos_[rank].start_step,
          infos_[rank].checkpoint, options_.folder);
    }
  }
  first_step_ = adapter.start_step;
  total_steps_ = options_.steps > 0 ? options_.steps : options_.epochs * adapter.steps_per_epoch;
  if (!adapter.checkpoint.empty()) {
    runtime::log().info("resuming from {} at step {} of {}", adapter.checkpoint, first_step_,
                        total_steps_);
  }
}

Coordinator::StepOutcome Coordinator::train_step(std::int64_t step) {
  std::vector<runtime::Future<ReplicaReport>> futures;
  for (auto& trainer : trainers_) {
    futures.push_back(trainer.call<&TrainerActor::train_step>(step));
  }
  StepOutcome outcome;
  double seconds = 0;
  std::int64_t tokens = 0;
  double gradient_norm = 0;
  double learning_rate = 0;
  nlohmann::ordered_json busy = nlohmann::ordered_json::array();
  for (const auto& report : runtime::get_all(futures)) {
    outcome.loss += report.total.loss;
    outcome.skipped = outcome.skipped || report.total.skipped;
    seconds = std::max(seconds, report.total.seconds);
    tokens += report.total.tokens;
    gradient_norm = report.total.gradient_norm;
    learning_rate = report.total.learning_rate;
    busy.push_back(report.busy);
  }
  nlohmann::ordered_json line = {{"step", step + 1},
                                 {"loss", outcome.loss},
                                 {"gradient_norm", gradient_norm},
                                 {"learning_rate", learning_rate},
                                 {"response_tokens", tokens},
                                 {"seconds", seconds},
                                 {"busy", busy}};
  if (outcome.skipped) {
    line["skipped"] = true;
  }
  metrics_.write(line);
  return outcome;
}

void Coordinator::validate(std::int64_t step) {
  std::vector<runtime::Future<ReplicaReport>> futures;
  for (auto& trainer : trainers_) {
    futures.push_back(trainer.call<&TrainerActor::validate>());
  }
  double loss = 0;
  std::int64_t tokens = 0;
  std::int64_t right = 0;
  for (const auto& report : runtime::get_all(futures)) {
    loss += report.total.loss;
    tokens += report.total.tokens;
    right += report.total.right_tokens;
  }
  const double count = static_cast<double>(std::max<std::int64_t>(1, tokens));
  metrics_.write({{"step", step},
                  {"validation_loss", loss / count},
                  {"validation_token_accuracy", static_cast<double>(right) / count},
                  {"response_tokens", tokens}});
  runtime::log().info("step {}: validation loss {:.4f}, token accuracy {:.1f}% over {} tokens", step,
                      loss / count, 100.0 * static_cast<double>(right) / count, tokens);
}

void Coordinator::save() {
  std::vector<runtime::Future<std::string>> futures;
  for (auto& stage : stages_) {
    futures.push_back(stage.call<&StageActor::save>());
  }
  for (const auto& path : runtime::get_all(futures)) {
    if (!path.empty()) {
      runtime::log().info("saved {}", path);
    }
  }
}

void Coordinator::verify() {
  std::vector<runtime::Future<trainer::FrozenReport>> reports;
  std::vector<runtime::Future<std::uint64_t>> traffic;
  for (auto& stage : stages_) {
    reports.push_back(stage.call<&StageActor::verify_frozen>());
    traffic.push_back(stage.call<&StageActor::replica_bytes_sent>());
  }
  std::uint64_t tensors = 0;
  for (const auto& report : runtime::get_all(reports)) {
    tensors += report.tensors;
    if (!report.changed.empty()) {
      throw runtime::InternalError("frozen tensor {} has changed ({} in all); this run is worthless",
                                   report.changed.front(), report.changed.size());
    }
  }
  std::uint64_t sent = 0;
  for (const auto bytes : runtime::get_all(traffic)) {
    sent += bytes;
  }
  const auto steps = std::max<std::int64_t>(1, total_steps_ - first_step_);
  const std::uint64_t adapter = infos_[adapter_rank_].adapter_bytes / 4;
  runtime::log().info("{} frozen tensors are unchanged and have no gradient", tensors);
  runtime::log().info("between replicas: {:.3f} MB sent a step by all ranks together; the adapter "
                      "has {:.3f} MB",
                      megabytes(sent) / static_cast<double>(steps), megabytes(adapter));
  metrics_.write({{"frozen_tensors_unchanged", tensors},
                  {"replica_bytes_sent", sent},
                  {"adapter_bytes", adapter},
                  {"steps", steps}});
}

void Coordinator::run() {
  if (first_step_ >= total_steps_) {
    runtime::log().info("all {} steps are done already", total_steps_);
    return;
  }
  runtime::ProgressBar bar("training", static_cast<std::uint64_t>(total_steps_ - first_step_));
  int skips = 0;
  for (std::int64_t step = first_step_; step < total_steps_; ++step) {
    const StepOutcome outcome = train_step(step);
    if (outcome.skipped) {
      runtime::log().warn("step {} skipped: its loss or gradient is not finite (loss {})", step + 1,
                          outcome.loss);
      if (++skips == kMaximumSkips) {
        throw runtime::InternalError("steps {} to {} were not finite; lower optimizer.learning_rate "
                                     "or look at their rows; checkpoints are in {}/checkpoints",
                                     step + 2 - kMaximumSkips, step + 1, options_.folder);
      }
    } else {
      skips = 0;
    }
    const std::int64_t done = step + 1;
    bar.update(static_cast<std::uint64_t>(done - first_step_), fmt::format("loss {:.3f}", outcome.loss));
    const auto due = [&](std::int64_t every) {
      return done == total_steps_ || (every > 0 && done % every == 0);
    };
    if (!options_.validation.empty() && options_.validate_every > 0 && due(options_.validate_every)) {
      validate(done);
    }
    if (due(options_.checkpoint.every)) {
      save();
    }
  }
  bar.finish();
  verify();
  if (options_.trace) {
    for (std::size_t rank = 0; rank < stages_.size(); ++rank) {
      const std::string name = rank == 0 ? "trace.json" : fmt::format("trace-rank{}.json", rank);
      stages_[rank].call<&StageActor::write_trace>(
                       (std::filesystem::path(options_.folder) / name).string())
          .get();
    }
  }
}

}  // namespace desta::actors
