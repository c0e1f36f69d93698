// Places a training job's actors on ranks, drives it step by step and supervises it. Runs on node 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "actors/stage_actor.h"
#include "actors/trainer_actor.h"
#include "runtime/actor/actor_system.h"
#include "runtime/core/file_lock.h"
#include "runtime/telemetry/metrics_writer.h"
#include "trainer/options.h"

namespace desta::actors {

class Coordinator {
 public:
  // Locks the run folder (two jobs in one would spoil each other's files; waits a minute for one that
  // is ending, then throws ConfigError). Spawns a stage actor on every rank and a trainer actor on each replica's adapter rank, and waits
  // until all are loaded. Logs what each rank holds, the shard beside its resident memory.
  Coordinator(runtime::ActorSystem& system, const trainer::TrainingOptions& options);

  // Trains from where the newest checkpoint stands to the end; validates and saves on the way. When
  // any rank was asked to stop, it saves after the step under way and returns false. Throws
  // InternalError when three steps in a row had to be skipped, when three saves in a row or the last
  // one failed, and when a frozen tensor has changed.
  [[nodiscard]] bool run();

 private:
  struct StepOutcome {
    double loss = 0;
    bool skipped = false;
    bool stop_is_due = false;
  };
  void start_line();
  StepOutcome train_step(std::int64_t step);
  void validate(std::int64_t step);
  // Starts to save; with `wait`, ends it too.
  void save(bool wait);
  void note(const std::vector<trainer::SaveOutcome>& saves);
  void train_steps();
  void finish();
  void verify();

  runtime::ActorSystem& system_;
  std::optional<runtime::FileLock> lock_;  // on the run folder
  trainer::TrainingOptions options_;
  std::vector<runtime::ActorRef<StageActor>> stages_;  // by rank
  std::vector<runtime::ActorRef<TrainerActor>> trainers_;  // by replica
  std::vector<trainer::StageInfo> infos_;
  std::size_t adapter_rank_ = 0;  // of replica 0
  std::int64_t first_step_ = 0;
  std::int64_t total_steps_ = 0;
  std::int64_t step_ = 0;    // steps done
  int failed_saves_ = 0;     // in a row
  runtime::MetricsWriter metrics_;
};

}  // namespace desta::actors
