// Training on a dataset that the same job writes: recordings are measured, rows planned, and their responses
// written where generation.placement says, while the adapter learns from those that are there.
#pragma once

#include "launch/program.h"
#include "runtime/actor/actor_system.h"
#include "trainer/trial_set.h"

namespace desta::launch {

// Refuses what cannot be combined with it. Throws ConfigError.
void check_streamed(const Job& job);

// On node 0. Returns false when the job was asked to stop: all is saved. `begin` is called when the run folder is
// this job's. Throws what measuring, writing and training throw.
[[nodiscard]] bool train_on_stream(Job& job, runtime::ActorSystem& system, const trainer::TrialSet& trials,
                                   const std::function<void()>& begin);

}  // namespace desta::launch
