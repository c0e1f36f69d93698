// A run's checkpoints: folders `checkpoints/step-NNNNNNNN`, each whole or absent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "trainer/trial.h"

namespace desta::trainer {

// What a run must have in common with the one it goes on with, by setting ("run.seed").
using RunIdentity = std::map<std::string, std::string>;

// Writes the trial's state as the checkpoint of its step, removes all but the newest `keep` (0 keeps
// all) and any of a later step (damaged ones that were passed over). Throws InternalError when the
// disk is full; older checkpoints are untouched then.
std::filesystem::path save_checkpoint(const std::filesystem::path& run, Trial& trial,
                                      std::int64_t keep, const RunIdentity& identity = {});

// Checkpoints of a run, oldest first. Half-written ones are not among them.
[[nodiscard]] std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run);

// Loads the newest checkpoint that is whole; damaged ones are named in `problems` and passed over.
// Returns its path, or an empty path when there is none. Throws ConfigError when a checkpoint was
// written with another value of a setting in `identity`: the run would be neither of the two.
std::filesystem::path load_newest_checkpoint(const std::filesystem::path& run, Trial& trial,
                                             std::vector<std::string>& problems,
                                             const RunIdentity& identity = {});

}  // namespace desta::trainer
