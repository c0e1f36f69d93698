// The actor that holds one pipeline stage on its rank.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/replica_engine.h"

namespace desta::actors {

class StageActor {
 public:
  // Loads the shard of this stage. Options and links are this process's resources.
  StageActor(std::int64_t replica, std::int64_t stage);

  trainer::StageInfo info() { return engine_->info(); }
  trainer::StageReport train_step(std::int64_t step) { return engine_->train_step(step); }
  trainer::StageReport validate() { return engine_->validate(); }
  std::vector<trainer::SaveOutcome> save(bool wait) { return engine_->save(wait); }
  std::vector<trainer::SaveOutcome> finish_saving() { return engine_->finish_saving(); }
  trainer::FrozenReport verify_frozen() { return engine_->verify_frozen(); }
  trainer::ReplicaTraffic replica_traffic() { return engine_->replica_traffic(); }
  void write_trace(const std::string& path) { engine_->write_trace(path); }

 private:
  std::optional<trainer::ReplicaEngine> engine_;
};

// Makes the type known to this process's actor systems.
void register_stage_actor();

}  // namespace desta::actors
