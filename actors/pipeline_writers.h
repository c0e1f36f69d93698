// Texts that the pipelines' own LLM writes, in the gaps of training steps or alone (trainer/pipeline_generator.h):
// who has how many to write, and where they go.
#pragma once

#include <cstdint>
#include <vector>

#include "actors/row_supply.h"
#include "actors/stage_actor.h"
#include "runtime/actor/actor_ref.h"
#include "trainer/options.h"

namespace desta::actors {

class PipelineWriters {
 public:
  // `stages`: of all replicas, by rank.
  PipelineWriters(std::vector<runtime::ActorRef<StageActor>> stages, const trainer::TrainingOptions& options);

  // Orders that a replica gets besides those it has, so that it has enough for a step: none where enough rows
  // wait for their step.
  [[nodiscard]] std::vector<trainer::TextOrder> orders_for(std::size_t replica, RowSupply& supply);
  // What a replica has written.
  void take(std::size_t replica, const std::vector<trainer::WrittenText>& texts, RowSupply& supply);

  // All replicas write at least `texts` more together, or all that are left, and do nothing else meanwhile.
  // Throws ModelError as RowSupply::accept() does.
  void write(RowSupply& supply, std::size_t texts);
  // Ends the writing for good: nothing is under way between ranks any more.
  void stop();

 private:
  std::vector<runtime::ActorRef<StageActor>> stages_;
  std::size_t stages_per_replica_;
  std::size_t enough_;                   // orders of a replica
  std::vector<std::size_t> unanswered_;  // by replica
};

}  // namespace desta::actors
