// Places a training job's actors on ranks, drives its trials step by step and supervises them. Runs on node 0.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "actors/pipeline_writers.h"
#include "actors/row_supply.h"
#include "actors/stage_actor.h"
#include "actors/text_workers.h"
#include "actors/trainer_actor.h"
#include "actors/trial_progress.h"
#include "runtime/actor/actor_system.h"
#include "trainer/trial_set.h"

namespace desta::actors {

class Coordinator {
 public:
  // Locks the run folders (TrialProgress). Spawns a stage actor on every rank and a trainer actor on each
  // replica's adapter rank, and waits until all are loaded. Logs what each rank holds, the shard beside its
  // resident memory.
  // `stream`: of a dataset that is still being written, whose rows supply_from() will bring.
  Coordinator(runtime::ActorSystem& system, const trainer::TrialSet& trials,
              const std::optional<trainer::StreamInfo>& stream = std::nullopt);

  // Where the only trial's rows come from. Where the stages write texts themselves they do so for it, in the gaps
  // of steps and, when rows are missing, instead of them; `others` are those who write for it besides, or null.
  // Both must live as long as this.
  void supply_from(RowSupply& supply, TextWorkers* others);
  // The stages write all of it that is missing, before any training. False when the process was asked to stop.
  [[nodiscard]] bool write_all(RowSupply& supply);

  // Trains from where the newest checkpoints stand to the end; validates and saves on the way. When any
  // rank was asked to stop, it saves after the step under way and returns false. A trial fails when three
  // steps in a row had to be skipped, and when three saves in a row or the last one went wrong; the others go
  // on. Throws InternalError at the end when one has failed, and when a frozen tensor has changed.
  [[nodiscard]] bool run();

 private:
  void start_line();
  void check_same_start(std::size_t trial) const;
  // One step of every trial that goes on. Returns whether a rank was asked to stop.
  [[nodiscard]] bool train_step();
  // Waits until the rows of the coming step are there, and hands them out. False when a rank was asked to stop.
  [[nodiscard]] bool supply_step();
  void validate(std::size_t trial);
  // Starts to save; with `wait`, ends it too.
  void save(std::size_t trial, bool wait);
  void train_steps();
  void report_failures() const;
  void finish();
  void verify();
  [[nodiscard]] bool goes_on() const;

  runtime::ActorSystem& system_;
  trainer::TrialSet trials_;
  std::vector<std::unique_ptr<TrialProgress>> progress_;  // by trial
  std::vector<runtime::ActorRef<StageActor>> stages_;  // by rank
  std::vector<runtime::ActorRef<TrainerActor>> trainers_;  // by replica
  std::vector<trainer::StageInfo> infos_;
  std::size_t adapter_rank_ = 0;  // of replica 0
  RowSupply* supply_ = nullptr;
  TextWorkers* other_writers_ = nullptr;
  std::int64_t supplied_ = 0;  // steps whose rows the stages have been handed
  std::optional<PipelineWriters> writers_;
};

}  // namespace desta::actors
