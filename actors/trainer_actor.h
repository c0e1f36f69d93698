// The actor that drives one replica: it orders its stages about and sums up what they report.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "actors/stage_actor.h"
#include "runtime/actor/actor_ref.h"
#include "trainer/executor.h"

namespace desta::actors {

// One step of one replica.
struct ReplicaReport {
  trainer::StageReport total;     // losses and gradients of the replica; seconds of the slowest stage
  std::vector<double> busy;       // share of the step in which each stage worked
  std::vector<double> writing;    // and in which it wrote texts
  template <class Archive>
  void serialize(Archive& archive) {
    archive(total, busy, writing);
  }
};

class TrainerActor {
 public:
  // Finds its stages by name: "stage/<replica>/<stage>".
  TrainerActor(std::int64_t replica, std::int64_t stages);

  // As trainer::ReplicaEngine's.
  ReplicaReport train_step(const std::vector<std::int64_t>& steps);
  ReplicaReport validate(std::int64_t trial);

 private:
  template <auto kMethod, typename... Args>
  ReplicaReport ask_stages(const Args&... args);

  std::vector<runtime::ActorRef<StageActor>> stages_;
};

void register_trainer_actor();

}  // namespace desta::actors
