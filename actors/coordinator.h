// Places a training job's actors on ranks, drives it step by step and supervises it. Runs on node 0.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "actors/stage_actor.h"
#include "actors/trainer_actor.h"
#include "runtime/actor/actor_system.h"
#include "runtime/telemetry/metrics_writer.h"
#include "trainer/options.h"

namespace desta::actors {

class Coordinator {
 public:
  // Spawns a stage actor on every rank and a trainer actor on each replica's adapter rank, and waits
  // until all are loaded. Logs what each rank holds, the shard beside its resident memory.
  Coordinator(runtime::ActorSystem& system, const trainer::TrainingOptions& options);

  // Trains from where the newest checkpoint stands to the end; validates and saves on the way.
  // Throws InternalError when three steps in a row had to be skipped, and when a frozen tensor has
  // changed.
  void run();

 private:
  struct StepOutcome {
    double loss = 0;
    bool skipped = false;
  };
  void start_line();
  StepOutcome train_step(std::int64_t step);
  void validate(std::int64_t step);
  void save();
  void verify();

  runtime::ActorSystem& system_;
  trainer::TrainingOptions options_;
  std::vector<runtime::ActorRef<StageActor>> stages_;  // by rank
  std::vector<runtime::ActorRef<TrainerActor>> trainers_;  // by replica
  std::vector<trainer::StageInfo> infos_;
  std::size_t adapter_rank_ = 0;  // of replica 0
  std::int64_t first_step_ = 0;
  std::int64_t total_steps_ = 0;
  runtime::MetricsWriter metrics_;
};

}  // namespace desta::actors
