// The actor that holds one pipeline stage on its rank.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "actors/row_wire.h"
#include "trainer/replica_engine.h"

namespace desta::actors {

class StageActor {
 public:
  // Loads the shard of this stage. Trials and links are this process's resources.
  StageActor(std::int64_t replica, std::int64_t stage, const std::optional<trainer::StreamInfo>& stream);

  // As trainer::ReplicaEngine's.
  trainer::StageInfo info() { return engine_->info(); }
  trainer::StageReport train_step(const std::vector<std::int64_t>& steps) {
    return engine_->train_step(steps);
  }
  void supply(const trainer::StepSupply& supply) { engine_->supply(supply); }
  trainer::WritingReport write_texts(std::int64_t texts) { return engine_->write_texts(texts); }
  void stop_writing() { engine_->stop_writing(); }
  trainer::StageReport validate(std::int64_t trial) { return engine_->validate(trial); }
  std::vector<trainer::SaveOutcome> save(std::int64_t trial, bool wait) {
    return engine_->save(trial, wait);
  }
  std::vector<trainer::SaveOutcome> finish_saving(std::int64_t trial) {
    return engine_->finish_saving(trial);
  }
  trainer::FrozenReport verify_frozen() { return engine_->verify_frozen(); }
  trainer::ReplicaTraffic replica_traffic() { return engine_->replica_traffic(); }
  void write_trace(const std::string& path) { engine_->write_trace(path); }

 private:
  std::optional<trainer::ReplicaEngine> engine_;
};

// Makes the type known to this process's actor systems.
void register_stage_actor();

}  // namespace desta::actors
