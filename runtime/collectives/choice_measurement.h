// Fills the table of algorithms by running them: once for a set of hosts, then it is read from a
// file.
#pragma once

#include <filesystem>
#include <functional>

#include "runtime/collectives/choice.h"
#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/peer_group.h"

namespace desta::runtime {

using RunAlgorithm = std::function<void(Algorithm, const Vectors&)>;

// The table for the topology: rank 0's, from `file` if it is there, else measured in about half a
// second and added to the file (empty: no file). `fastest`: of all algorithms; else of those alone
// that give the bits of the default, and then the same on every rank in every run, whatever was
// measured. Collective over `everyone`.
[[nodiscard]] ChoiceTable measured_choice(const Topology& topology, PeerGroup& everyone,
                                          bool fastest, const std::filesystem::path& file,
                                          const Operation& operation, const RunAlgorithm& run);

}  // namespace desta::runtime
