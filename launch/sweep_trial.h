// The course of one trial: for every round, training, then evaluation. And the data generation that
// trials share, each kind once.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "launch/sweep_plan.h"

namespace desta::launch {

using CommandLine = std::vector<std::string>;

[[nodiscard]] CommandLine datagen_command(const Plan& plan, const Trial& trial, std::int64_t ranks);
[[nodiscard]] CommandLine train_command(const Plan& plan, const Trial& trial, std::int64_t round);
// Several trials at once, in a sweep of one round.
[[nodiscard]] CommandLine train_command(const Plan& plan, const std::vector<const Trial*>& trials);
[[nodiscard]] CommandLine evaluation_command(const Plan& plan, const Trial& trial,
                                             std::int64_t round);

// Writes what a person wants to find in the folders: the sweep file, each trial's settings.
void write_descriptions(const Plan& plan);

[[nodiscard]] bool is_prepared(const Plan& plan, const Trial& trial);

// Makes the data that `trial` needs, unless that has been done. One at a time in a sweep: a second
// process waits for the first. `ranks` of datagen; 0: as many as the trial has. Returns an exit
// code and the message of a failure.
std::pair<int, std::string> prepare(const Plan& plan, const Trial& trial, std::int64_t ranks);

// All of them, one after the other, whichever fail. Returns an exit code.
int prepare_all(const Plan& plan, std::int64_t ranks);

// What is left is being run by somebody else: between a sweeper and its children an exit code of its
// own, for nothing has to be stopped or requeued because of it. To others it is 75.
inline constexpr int kHeldElsewhere = 76;

// Runs what these trials of one job have not done yet; their states are in their folders. Several are trained
// at once; what comes of that, each goes on from by itself. `sweeper`: the process that asked for it, 0 when a
// person or a scheduler did. Returns an exit code: 0 all done (now or before), 75 stopped, 1 one has failed,
// or kHeldElsewhere.
int run_trials(const Plan& plan, const std::vector<const Trial*>& trials, pid_t sweeper);

}  // namespace desta::launch
