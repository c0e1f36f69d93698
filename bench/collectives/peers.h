// The others: Open MPI's own, gloo's, and the machine's memory.
#pragma once

#include <string>
#include <vector>

#include "bench/collectives/timing.h"

namespace desta::bench {

// MPI_Allreduce as the job's settings make it; `name` says which they are.
// `in_place`: otherwise it reduces from a buffer of its own into `data`.
[[nodiscard]] Contender open_mpi(const std::string& name, const std::string& memory, float* data,
                                 std::size_t most_bytes, bool in_place);

// Every rank copies the bytes from `data` to another place, all at the same time: it reads each
// byte once and writes each once, as an all-reduce in shared memory must at least.
[[nodiscard]] Contender memory_copy(const std::string& memory, float* data, std::size_t most_bytes);

// gloo's ring and halving-doubling over TCP on the loopback; none where the build found no gloo.
// Ranks meet in `folder`. Collective.
[[nodiscard]] std::vector<Contender> gloo(const std::string& memory, float* data,
                                          const std::string& folder);

}  // namespace desta::bench
