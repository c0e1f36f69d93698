// How a training job is laid out over its ranks, from its options alone: what each stage holds, where each
// rank stands, what each does in a step.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trainer/ahead_schedule.h"
#include "trainer/options.h"
#include "trainer/partition.h"
#include "trainer/schedule.h"
#include "trainer/trial_schedule.h"
#include "trainer/trial_set.h"

namespace desta::trainer {

// The shapes of the models that the options name. Reads configuration files only.
[[nodiscard]] ModelShapes read_shapes(const TrainingOptions& options);

// What the options come to for what learns.
[[nodiscard]] TrainingOptions settled(TrainingOptions options);

// The models cut into pipeline.parts() stages. Throws ConfigError as partition() does.
[[nodiscard]] std::vector<StagePart> cut_models(const TrialSet& trials);

// Throws ConfigError when sizes do not fit: batch, microbatch, replicas and ranks. `start` is what to
// type in front of the right number of ranks.
void check_layout(const TrainingOptions& options, int ranks,
                  const std::string& start = "mpirun -n ");

// Where a rank stands: ranks of one replica are neighbours, rank = replica * stages + stage. With several
// chunks a rank, `stage` is its first, and the others follow `stages` apart.
struct RankPlace {
  std::int64_t replica = 0;
  std::int64_t stage = 0;
  [[nodiscard]] static RankPlace of(int rank, std::int64_t stages) {
    return {rank / stages, rank % stages};
  }
};

// The shape of a table for the microbatches of one trial.
[[nodiscard]] ScheduleShape schedule_shape(const TrainingOptions& options,
                                           const std::vector<StagePart>& parts,
                                           std::int64_t microbatches);

// What trials bring to a step. `steps`: by trial, which of its own it is; -1: it has no part in it.
[[nodiscard]] std::vector<TrialShare> shares_of(const TrialSet& trials,
                                                std::span<const std::int64_t> steps);

// The table of a training step in which all trials take part, of one that has another behind it. Throws
// ConfigError as schedule_trials() and ahead_tables() do.
[[nodiscard]] Schedule schedule_of(const TrialSet& trials, const std::vector<StagePart>& parts);

// The tables of schedule ahead for these stages. Throws ConfigError as ahead_tables() does.
[[nodiscard]] AheadTables ahead_tables_of(const TrainingOptions& options,
                                          const std::vector<StagePart>& parts);

}  // namespace desta::trainer
