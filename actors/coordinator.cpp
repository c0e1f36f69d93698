#include "actors/coordinator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/core/progress.h"
#include "runtime/core/stop_request.h"
#include "trainer/training_layout.h"

namespace desta::actors {
namespace {

// How often a step looks whether its rows have come from elsewhere.
constexpr std::chrono::milliseconds kLookForRows{10};

double megabytes(std::uint64_t bytes) { return static_cast<double>(bytes) / 1e6; }

}  // namespace

Coordinator::Coordinator(runtime::ActorSystem& system, const trainer::TrialSet& trials,
                         const std::optional<trainer::StreamInfo>& stream)
    : system_(system), trials_(trials) {
  for (const auto& options : trials_) {
    progress_.push_back(std::make_unique<TrialProgress>(
        options, trials_.size() > 1 ? options.folder + ": " : std::string()));
  }
  const auto stages = trials_.common().pipeline.stages;
  const auto parts = trainer::cut_models(trials_);
  const auto adapter = trainer::adapter_stage(parts) % stages;
  adapter_rank_ = static_cast<std::size_t>(adapter);
  for (std::int64_t replica = 0; replica < trials_.common().replicas; ++replica) {
    for (std::int64_t stage = 0; stage < stages; ++stage) {
      stages_.push_back(system_.spawn<StageActor>(
          {.name = fmt::format("stage/{}/{}", replica, stage),
           .node = static_cast<int>(replica * stages + stage),
           .own_thread = true},
          replica, stage, stream));
    }
  }
  std::vector<runtime::Future<trainer::StageInfo>> infos;
  for (auto& stage : stages_) {
    infos.push_back(stage.call<&StageActor::info>());
  }
  infos_ = runtime::get_all(infos);
  for (std::int64_t replica = 0; replica < trials_.common().replicas; ++replica) {
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
  if (trials_.common().colocated.has_value()) {
    writers_.emplace(stages_, trials_.common());
  }
}

void Coordinator::supply_from(RowSupply& supply, TextWorkers* others) {
  supply_ = &supply;
  other_writers_ = others;
  supplied_ = progress_.front()->step();
  supply.start_at(supplied_);
}

bool Coordinator::write_all(RowSupply& supply) {
  runtime::ProgressBar bar("writing", supply.size());
  while (!supply.is_complete()) {
    if (runtime::stop_is_due()) {
      supply.flush();
      return false;
    }
    // So many at once that a signal is heard soon.
    writers_->write(supply, static_cast<std::size_t>(trials_.common().colocated->decoding.batch_size));
    bar.update(supply.written());
  }
  bar.finish();
  supply.flush();
  return true;
}

bool Coordinator::supply_step() {
  const std::int64_t step = progress_.front()->step();
  if (other_writers_ != nullptr) {
    other_writers_->check();
  }
  while (!supply_->has(step)) {
    if (runtime::stop_is_due()) {
      return false;
    }
    if (writers_.has_value()) {
      const auto at_once = static_cast<std::size_t>(trials_.common().colocated->decoding.batch_size);
      writers_->write(*supply_, std::min(at_once, supply_->missing_for(step)));
    } else {
      other_writers_->check();
      std::this_thread::sleep_for(kLookForRows);
    }
  }
  trainer::StepSupply rows{.rows = {}, .oldest = step, .orders = {}};
  const std::int64_t next = std::min(step + 1, progress_.front()->total_steps() - 1);
  for (; supplied_ <= next && supply_->has(supplied_); ++supplied_) {
    rows.rows.push_back({supplied_, supply_->rows_of(supplied_)});
  }
  const auto stages = static_cast<std::size_t>(trials_.common().pipeline.stages);
  std::vector<runtime::Future<void>> handed;
  for (std::size_t rank = 0; rank < stages_.size(); ++rank) {
    rows.orders.clear();
    if (writers_.has_value() && (rank + 1) % stages == 0) {
      rows.orders = writers_->orders_for(rank / stages, *supply_);
    }
    handed.push_back(stages_[rank].call<&StageActor::supply>(rows));
  }
  for (auto& done : handed) {
    done.get();
  }
  return true;
}

void Coordinator::start_line() {
  for (std::size_t rank = 0; rank < infos_.size(); ++rank) {
    const trainer::StageInfo& info = infos_[rank];
    std::uint64_t adapters = 0;
    for (const auto& trial : info.trials) {
      adapters += trial.adapter_bytes;
    }
    runtime::log().info(
        "rank {} on {}: {}; frozen shard {:.1f} MB in {} tensors, adapter state {:.1f} MB, resident {:.1f} "
        "MB (overhead {:.1f} MB)",
        rank, info.device, info.part, megabytes(info.frozen_bytes), info.frozen_tensors,
        megabytes(adapters), megabytes(info.resident_bytes),
        megabytes(info.resident_bytes) - megabytes(info.frozen_bytes + adapters));
  }
  if (trials_.size() > 1) {
    runtime::log().info("{} trials on one copy of the models, {} of them with rows of their own",
                        trials_.size(), trials_.streams());
  }
  std::set<std::string> problems;
  for (std::size_t trial = 0; trial < progress_.size(); ++trial) {
    for (const auto& info : infos_) {
      problems.insert(info.trials[trial].problems.begin(), info.trials[trial].problems.end());
    }
    check_same_start(trial);
  }
  for (const auto& problem : problems) {
    runtime::log().warn("checkpoint passed over: {}", problem);
  }
  for (std::size_t trial = 0; trial < progress_.size(); ++trial) {
    progress_[trial]->start_from(infos_[adapter_rank_].trials[trial]);
  }
}

// Each rank on which something learns has read the run folder by itself.
void Coordinator::check_same_start(std::size_t trial) const {
  const auto stages = static_cast<std::size_t>(trials_.common().pipeline.stages);
  const trainer::TrialInfo& adapter = infos_[adapter_rank_].trials[trial];
  for (std::size_t rank = 0; rank < infos_.size(); ++rank) {
    const trainer::TrialInfo& info = infos_[rank].trials[trial];
    if (info.adapter_bytes > 0 &&
        (info.start_step != adapter.start_step || info.checkpoint != adapter.checkpoint ||
         info.adapter_checksum != infos_[rank % stages].trials[trial].adapter_checksum)) {
      throw runtime::ConfigError(
          "ranks {} and {} start from different adapters (step {} of '{}' and step {} of '{}'): "
          "run.folder {} must be the same, whole folder on all nodes",
          adapter_rank_, rank, adapter.start_step, adapter.checkpoint, info.start_step,
          info.checkpoint, trials_[trial].folder);
    }
  }
}

bool Coordinator::goes_on() const {
  return std::ranges::any_of(progress_, [](const auto& trial) { return trial->goes_on(); });
}

bool Coordinator::train_step() {
  if (supply_ != nullptr && !supply_step()) {
    return true;
  }
  std::vector<std::int64_t> steps;
  std::int64_t samples = 0;
  for (const auto& trial : progress_) {
    steps.push_back(trial->goes_on() ? trial->step() : -1);
    samples += trial->goes_on() ? trial->options().batch.global_size : 0;
  }
  std::vector<runtime::Future<ReplicaReport>> futures;
  for (auto& trainer : trainers_) {
    futures.push_back(trainer.call<&TrainerActor::train_step>(steps));
  }
  const std::vector<ReplicaReport> reports = runtime::get_all(futures);
  bool stop_is_due = false;
  double seconds = 0;
  double exposed = 0;
  nlohmann::ordered_json busy = nlohmann::ordered_json::array();
  for (const auto& report : reports) {
    stop_is_due = stop_is_due || report.total.stop_is_due;
    seconds = std::max(seconds, report.total.seconds);
    exposed = std::max(exposed, report.total.exposed_seconds);
    busy.push_back(report.busy);
  }
  nlohmann::ordered_json rest = {{"seconds", seconds}, {"busy", busy}};
  if (writers_.has_value()) {
    nlohmann::ordered_json writing = nlohmann::ordered_json::array();
    std::int64_t tokens = 0;
    for (std::size_t replica = 0; replica < reports.size(); ++replica) {
      const ReplicaReport& report = reports[replica];
      writing.push_back(report.writing);
      tokens += report.total.written_tokens;
      writers_->take(replica, report.total.written, *supply_);
    }
    rest["writing"] = writing;
    rest["written_tokens"] = tokens;
    rest["written_rows"] = supply_->written();
  }
  if (trainers_.size() > 1) {
    rest["exposed_seconds"] = exposed;
  }
  double loss = 0;
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    trainer::TrialReport total;
    for (const auto& report : reports) {
      total.add(report.total.trials[i]);
    }
    progress_[i]->note(total.saves);
    if (steps[i] >= 0) {
      progress_[i]->finish_step(total, rest);
      loss = total.loss;
    }
  }
  system_.publish("step", static_cast<double>(*std::ranges::max_element(steps) + 1));
  system_.publish("loss", loss);
  system_.publish("samples_per_second", static_cast<double>(samples) / seconds);
  return stop_is_due;
}

void Coordinator::validate(std::size_t trial) {
  std::vector<runtime::Future<ReplicaReport>> futures;
  for (auto& trainer : trainers_) {
    futures.push_back(trainer.call<&TrainerActor::validate>(static_cast<std::int64_t>(trial)));
  }
  trainer::TrialReport total;
  for (const auto& report : runtime::get_all(futures)) {
    total.add(report.total.trials[trial]);
  }
  progress_[trial]->note_validation(total.loss, total.tokens, total.right_tokens);
}

void Coordinator::save(std::size_t trial, bool wait) {
  if (supply_ != nullptr) {
    supply_->flush();  // a checkpoint counts on the rows that its steps were made of
  }
  const auto start = std::chrono::steady_clock::now();
  std::vector<runtime::Future<std::vector<trainer::SaveOutcome>>> futures;
  for (auto& stage : stages_) {
    futures.push_back(stage.call<&StageActor::save>(static_cast<std::int64_t>(trial), wait));
  }
  std::vector<trainer::SaveOutcome> outcomes;
  for (const auto& saves : runtime::get_all(futures)) {
    outcomes.insert(outcomes.end(), saves.begin(), saves.end());
  }
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  TrialProgress& progress = *progress_[trial];
  progress.note_wait_for_save(waited.count(), wait);
  if (!wait) {
    progress.note(outcomes);
    return;
  }
  // Nothing comes behind the last one that could save again.
  const trainer::SaveOutcome last = outcomes.back();
  outcomes.pop_back();
  progress.note(outcomes);
  if (!last.problem.empty()) {
    progress.fail(last.problem);
  } else {
    runtime::log().info("saved {}", last.path);
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
  std::vector<std::uint64_t> loaded;
  std::vector<std::uint64_t> peak;
  for (const auto& report : runtime::get_all(reports)) {
    tensors += report.tensors;
    loaded.push_back(infos_[peak.size()].resident_bytes);
    peak.push_back(report.peak_resident_bytes);
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
  std::int64_t steps = 1;  // that changed an adapter, of the trial with most
  std::uint64_t adapter = 0;
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    steps = std::max(steps, progress_[i]->step() - progress_[i]->first_step());
    adapter += infos_[adapter_rank_].trials[i].adapter_bytes / 4;
  }
  runtime::log().info("{} frozen tensors are unchanged and have no gradient", tensors);
  runtime::log().info("between replicas: {:.3f} MB sent a step by all ranks together; the adapter{} "
                      "{:.3f} MB{}",
                      megabytes(sent) / static_cast<double>(steps),
                      progress_.size() > 1 ? "s have" : " has", megabytes(adapter),
                      algorithms.empty() ? "" : fmt::format("; wire {}, all-reduce {}",
                                                            trials_.common().reduction.wire, algorithms));
  for (const auto& trial : progress_) {
    trial->write({{"frozen_tensors_unchanged", tensors},
                  {"replica_bytes_sent", sent},
                  {"adapter_bytes", adapter},
                  {"resident_bytes_after_loading", loaded},
                  {"peak_resident_bytes", peak},
                  {"steps", steps}});
  }
}

void Coordinator::train_steps() {
  std::int64_t left = 0;
  for (const auto& trial : progress_) {
    left = std::max(left, trial->total_steps() - trial->step());
  }
  runtime::ProgressBar bar("training", static_cast<std::uint64_t>(left));
  bool stop = runtime::stop_is_due();
  for (std::uint64_t round = 1; goes_on() && !stop; ++round) {
    std::vector<std::size_t> active;
    for (std::size_t i = 0; i < progress_.size(); ++i) {
      if (progress_[i]->goes_on()) {
        active.push_back(i);
      }
    }
    stop = train_step();
    bar.update(round, active.size() > 1 ? fmt::format("{} trials", active.size())
                                        : fmt::format("loss {:.3f}", progress_[active.front()]->loss()));
    for (const std::size_t i : active) {
      const TrialProgress& trial = *progress_[i];
      if (!trial.failure().empty()) {
        (void)stages_[adapter_rank_].call<&StageActor::finish_saving>(static_cast<std::int64_t>(i)).get();
        continue;
      }
      if (!stop && trial.validates()) {
        validate(i);
      }
      if (trial.is_done()) {
        save(i, /*wait=*/true);
      } else if (!stop && trial.is_due(trial.options().checkpoint.every)) {
        save(i, /*wait=*/false);
      }
    }
  }
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    if (progress_[i]->goes_on() && progress_[i]->step() > progress_[i]->first_step()) {
      save(i, /*wait=*/true);
    }
  }
  bar.finish();
}

void Coordinator::report_failures() const {
  std::string first;
  for (const auto& trial : progress_) {
    if (!trial->failure().empty()) {
      if (!first.empty()) {
        runtime::log().error("{}", first);
      }
      first = trial->failure();
    }
  }
  if (!first.empty()) {
    throw runtime::InternalError("{}", first);
  }
}

bool Coordinator::run() {
  if (!goes_on()) {
    return true;
  }
  train_steps();
  if (writers_.has_value()) {
    writers_->stop();
  }
  if (supply_ != nullptr) {
    supply_->flush();
  }
  bool stopped = false;
  for (const auto& trial : progress_) {
    if (trial->goes_on()) {
      runtime::log().info("{}stopped after step {} of {}: all is saved", trial->label(), trial->step(),
                          trial->total_steps());
      stopped = true;
    }
  }
  if (stopped) {
    return false;
  }
  report_failures();
  finish();
  return true;
}

void Coordinator::finish() {
  verify();
  if (trials_.common().trace) {
    for (std::size_t rank = 0; rank < stages_.size(); ++rank) {
      const std::string name = rank == 0 ? "trace.json" : fmt::format("trace-rank{}.json", rank);
      stages_[rank].call<&StageActor::write_trace>(
                       (std::filesystem::path(trials_.common().folder) / name).string())
          .get();
    }
  }
}

}  // namespace desta::actors
