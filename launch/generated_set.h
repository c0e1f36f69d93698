// One set of recordings on its way to a dataset: its rows are planned, their responses written by whoever the
// program has for that. Shared by the programs that do it.
#pragma once

#include <string>
#include <vector>

#include "actors/dataset_actor.h"
#include "launch/config.h"
#include "runtime/actor/actor_ref.h"
#include "runtime/actor/actor_system.h"

namespace desta::launch {

struct GeneratedSet {
  std::string name;
  runtime::ActorRef<actors::DatasetActor> dataset;  // with its filters
  std::vector<datagen::Row> planned;                // responses are empty
  std::size_t asked = 0;                            // rows, when it was opened

  // Before an error ends the job. When that cannot be done either (the disk is full), the error has said why.
  void publish_what_is_done();
  // Says in the log what the filters have taken out of the set, with samples.
  void log_losses();
};

// Measures those of the manifest's recordings that were not measured before and plans its rows. Throws as
// measure_manifest(), plan_rows() and recipe_of() do.
[[nodiscard]] GeneratedSet open_set(runtime::ActorSystem& system, const JobConfig& config,
                                    const std::string& name, const std::string& manifest);

// Makes the types of the actors that measure, write and keep known, and of those that train, for a worker may join
// a program of either kind; and hands over what the former use of this process.
void register_generation_actors();
void provide_for_generation(JobConfig& config, runtime::ActorSystem& system);

}  // namespace desta::launch
