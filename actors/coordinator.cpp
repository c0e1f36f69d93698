#include "actors/coordinator.h"

#include <chrono>
#include <cmath>
#include <set>

#include "runtime/core/log.h"
#include "runtime/core/progress.h"
#include "runtime/core/stop_request.h"
#include "trainer/partition.h"

namespace desta::actors {
namespace {

// A run whose steps or saves fail one after the other will not mend itself.
constexpr std::int64_t kMaximumSkips = 3;
constexpr int kMaximumFailedSaves = 3;

// How long a job that is ending may take to let go of its run folder.
constexpr std::chrono::seconds kPatience{60};

// Nothing on a file system without locks.
std::optional<runtime::FileLock> lock_folder(const std::filesystem::path& folder) {
  try {
    const auto path = folder / "lock";
    if (runtime::FileLock::is_held(path)) {
      runtime::log().info("another job holds {}; waiting for it to end", path.string());
    }
    auto lock = runtime::FileLock::try_take(path, runtime::FileLock::Inherit::kNo, kPatience);
    if (!lock.has_value()) {
      throw runtime::ConfigError("{}: another job is writing into this run folder; wait for it, or "
                                 "choose another run.folder",
                                 path.string());
    }
    return lock;
  } catch (const runtime::ConfigError&) {
    throw;
  } catch (const runtime::Error& error) {
    runtime::log().warn("the run folder is not locked: {}", error.what());
    return std::nullopt;
  }
}

double megabytes(std::uint64_t bytes) { return static_cast<double>(bytes) / 1e6; }

}  // namespace

Coordinator::Coordinator(runtime::ActorSystem& system, const trainer::TrainingOptions& options)
    : system_(system),
      lock_(lock_folder(options.folder)),
      options_(options),
      metrics_(std::filesystem::path(options.folder) / "metrics.jsonl") {
  const auto stages = options_.pipeline.stages;
  const auto parts = trainer::cut_models(options_);
  const auto adapter = trainer::adapter_stage(parts) % stages;
  adapter_rank_ = static_cast<std::size_t>(adapter);
  for (std::int64_t replica = 0; replica < options_.replicas; ++replica) {
    for (std::int64_t stage = 0; stage < stages; ++stage) {
      stages_.push_back(system_.spawn<StageActor>(
          {.name = fmt::format("stage/{}/{}", replica, stage),
           .node = static_cast<int>(replica * stages + stage),
           .own_thread = true},
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
         .node = static_cast<int>(replica * stages + adapter),
         .own_thread = true},
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
  std::set<std::string> problems;
  // Each rank on which something learns has read the run folder by itself.
  const auto stages = static_cast<std::size_t>(options_.pipeline.stages);
  for (std::size_t rank = 0; rank < infos_.size(); ++rank) {
    const trainer::StageInfo& info = infos_[rank];
    problems.insert(info.problems.begin(), info.problems.end());
    if (info.adapter_bytes > 0 &&
        (info.start_step != adapter.start_step || info.checkpoint != adapter.checkpoint ||
         info.adapter_checksum != infos_[rank % stages].adapter_checksum)) {
      throw runtime::ConfigError(
          "ranks {} and {} start from different adapters (step {} of '{}' and step {} of '{}'): "
          "run.folder {} must be the same, whole folder on all nodes",
          adapter_rank_, rank, adapter.start_step, adapter.checkpoint, info.start_step,
          info.checkpoint, options_.folder);
    }
  }
  for (const auto& problem : problems) {
    runtime::log().warn("checkpoint passed over: {}", problem);
  }
  first_step_ = adapter.start_step;
  total_steps_ = options_.steps > 0 ? options_.steps : options_.epochs * adapter.steps_per_epoch;
  if (!adapter.schedule_change.empty()) {
    runtime::log().warn("the schedule has changed since the checkpoint, which bends the learning rate: {}",
                        adapter.schedule_change);
  }
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
  double exposed = 0;
  nlohmann::ordered_json busy = nlohmann::ordered_json::array();
  for (const auto& report : runtime::get_all(futures)) {
    outcome.loss += report.total.loss;
    outcome.skipped = outcome.skipped || report.total.skipped;
    outcome.stop_is_due = outcome.stop_is_due || report.total.stop_is_due;
    note(report.total.saves);
    seconds = std::max(seconds, report.total.seconds);
    tokens += report.total.tokens;
    gradient_norm = report.total.gradient_norm;
    learning_rate = report.total.learning_rate;
    exposed = std::max(exposed, report.total.exposed_seconds);
    busy.push_back(report.busy);
  }
  nlohmann::ordered_json line = {{"step", step + 1},
                                 {"loss", outcome.loss},
                                 {"gradient_norm", gradient_norm},
                                 {"learning_rate", learning_rate},
                                 {"response_tokens", tokens},
                                 {"seconds", seconds},
                                 {"busy", busy}};
  if (trainers_.size() > 1) {
    line["exposed_seconds"] = exposed;
  }
  if (outcome.skipped) {
    line["skipped"] = true;
  }
  metrics_.write(line);
  system_.publish("step", static_cast<double>(step + 1));
  system_.publish("loss", outcome.loss);
  system_.publish("samples_per_second", static_cast<double>(options_.batch.global_size) / seconds);
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

void Coordinator::save(bool wait) {
  const auto start = std::chrono::steady_clock::now();
  std::vector<runtime::Future<std::vector<trainer::SaveOutcome>>> futures;
  for (auto& stage : stages_) {
    futures.push_back(stage.call<&StageActor::save>(wait));
  }
  std::vector<trainer::SaveOutcome> outcomes;
  for (const auto& saves : runtime::get_all(futures)) {
    outcomes.insert(outcomes.end(), saves.begin(), saves.end());
  }
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  metrics_.write({{"step", step_}, {"seconds_waited_for_save", waited.count()}, {"to_its_end", wait}});
  if (!wait) {
    note(outcomes);
    return;
  }
  // Nothing comes behind the last one that could save again.
  const trainer::SaveOutcome last = outcomes.back();
  outcomes.pop_back();
  note(outcomes);
  if (!last.problem.empty()) {
    throw runtime::InternalError("{}", last.problem);
  }
  runtime::log().info("saved {}", last.path);
}

void Coordinator::note(const std::vector<trainer::SaveOutcome>& saves) {
  for (const auto& save : saves) {
    if (save.problem.empty()) {
      failed_saves_ = 0;
      runtime::log().info("saved {}", save.path);
    } else if (++failed_saves_ == kMaximumFailedSaves) {
      throw runtime::InternalError("{}", save.problem);
    } else {
      runtime::log().warn("not saved; training goes on and will save again: {}", save.problem);
    }
  }
}

void Coordinator::verify() {
  std::vector<runtime::Future<trainer::FrozenReport>> reports;
  std::vector<runtime::Future<trainer::ReplicaTraffic>> traffic;
  for (auto& stage : stages_) {
    reports.push_back(stage.call<&StageActor::verify_frozen>());
    traffic.push_back(stage.call<&StageActor::replica_traffic>());
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
  std::string algorithms;
  for (const auto& part : runtime::get_all(traffic)) {
    sent += part.bytes_sent;
    algorithms = part.algorithms.size() > algorithms.size() ? part.algorithms : algorithms;
  }
  const auto steps = std::max<std::int64_t>(1, total_steps_ - first_step_);
  const std::uint64_t adapter = infos_[adapter_rank_].adapter_bytes / 4;
  runtime::log().info("{} frozen tensors are unchanged and have no gradient", tensors);
  runtime::log().info("between replicas: {:.3f} MB sent a step by all ranks together; the adapter "
                      "has {:.3f} MB{}",
                      megabytes(sent) / static_cast<double>(steps), megabytes(adapter),
                      algorithms.empty() ? "" : fmt::format("; wire {}, all-reduce {}",
                                                            options_.reduction.wire, algorithms));
  metrics_.write({{"frozen_tensors_unchanged", tensors},
                  {"replica_bytes_sent", sent},
                  {"adapter_bytes", adapter},
                  {"steps", steps}});
}

void Coordinator::train_steps() {
  runtime::ProgressBar bar("training", static_cast<std::uint64_t>(total_steps_ - first_step_));
  std::int64_t skips = infos_[adapter_rank_].skipped_in_a_row;
  bool stop = runtime::stop_is_due();
  while (step_ < total_steps_ && !stop) {
    const StepOutcome outcome = train_step(step_);
    ++step_;
    if (outcome.skipped) {
      runtime::log().warn("step {} skipped: its loss or gradient is not finite (loss {})", step_,
                          outcome.loss);
      if (++skips == kMaximumSkips) {
        note(stages_[adapter_rank_].call<&StageActor::finish_saving>().get());
        throw runtime::InternalError("steps {} to {} were not finite; lower optimizer.learning_rate "
                                     "or look at their rows; checkpoints are in {}/checkpoints",
                                     step_ + 1 - kMaximumSkips, step_, options_.folder);
      }
    } else {
      skips = 0;
    }
    bar.update(static_cast<std::uint64_t>(step_ - first_step_), fmt::format("loss {:.3f}", outcome.loss));
    stop = outcome.stop_is_due;
    const auto due = [&](std::int64_t every) {
      return step_ == total_steps_ || (every > 0 && step_ % every == 0);
    };
    if (!stop && !options_.validation.empty() && options_.validate_every > 0 &&
        due(options_.validate_every)) {
      validate(step_);
    }
    if (due(options_.checkpoint.every) && step_ < total_steps_ && !stop) {
      save(/*wait=*/false);
    }
  }
  if (step_ > first_step_) {
    save(/*wait=*/true);
  }
  bar.finish();
}

bool Coordinator::run() {
  step_ = first_step_;
  if (first_step_ >= total_steps_) {
    runtime::log().info("all {} steps are done already", total_steps_);
    return true;
  }
  train_steps();
  if (step_ < total_steps_) {
    runtime::log().info("stopped after step {} of {}: all is saved", step_, total_steps_);
    return false;
  }
  finish();
  return true;
}

void Coordinator::finish() {
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
