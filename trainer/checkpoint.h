// A run's checkpoints: folders `checkpoints/step-NNNNNNNN`, each whole or absent, each with a file of
// checksums (checksums.xxh64, as `xxhsum -c` reads it) over all the others.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "trainer/options.h"
#include "trainer/trial.h"

namespace desta::trainer {

// What a run must have in common with the one it goes on with, by setting ("run.seed").
using RunIdentity = std::map<std::string, std::string>;
// The setting of a RunIdentity that stands for the rows to learn from, as a hash.
inline constexpr const char* kRowsOfIdentity = "data.folder (hash of its rows)";

// What a checkpoint holds.
struct Checkpoint {
  std::filesystem::path path;
  TrialState position;             // without parameters and moments
  TensorMap values, first, second;
  RunIdentity identity;
};

// Writes the state of a trial, one part for each stage on which it learns, as the checkpoint of its
// step. Then removes what `options` does not keep, and puts aside any of a later step (damaged ones
// that were passed over) as passed-over-step-NNNNNNNN. Throws InternalError when the disk is full or the folder read-only; older checkpoints
// are untouched then.
std::filesystem::path write_checkpoint(const std::filesystem::path& run,
                                       std::span<const TrialState> parts,
                                       const CheckpointOptions& options,
                                       const RunIdentity& identity = {});

// Removes what killed processes were writing or removing. At the start of a run.
void sweep_up(const std::filesystem::path& run);

// Checkpoints of a run, oldest first. Half-written ones are not among them.
[[nodiscard]] std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& run);

// Reads one, every byte of it compared with its checksum. Throws ModelError naming the file.
[[nodiscard]] Checkpoint read_checkpoint(const std::filesystem::path& folder);

// Loads the newest checkpoint that is whole; damaged ones are named in `problems` and passed over.
// Returns its path, or an empty path when there is none. Throws ConfigError when a checkpoint was
// written with another value of a setting in `identity`: the run would be neither of the two.
std::filesystem::path load_newest_checkpoint(const std::filesystem::path& run, Trial& trial,
                                             std::vector<std::string>& problems,
                                             const RunIdentity& identity = {});

// The adapter.safetensors of a run's newest whole checkpoint, every byte compared. Throws ConfigError
// when there is none.
[[nodiscard]] std::filesystem::path newest_adapter(const std::filesystem::path& run);

// Parameters alone, of a checkpoint's folder or of a run's newest whole checkpoint.
// Throws ConfigError when there is neither.
[[nodiscard]] TensorMap read_parameters(const std::filesystem::path& run_or_checkpoint);

}  // namespace desta::trainer
