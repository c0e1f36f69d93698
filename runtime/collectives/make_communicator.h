// The choice of a data-plane backend at run time.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/collectives/communicator.h"
#include "runtime/transport/mpi_environment.h"

namespace desta::runtime {

struct CommunicatorOptions {
  // How long one operation may wait for a peer.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  // How an all-reduce is done in host memory:
  //   "auto":    the fastest, as measured, of those that give the default's bits, so that the
  //              choice never shows in a result
  //   "fastest": the fastest of all; another measurement may choose another order of sums
  //   a name ("shared-memory", "hierarchical+ring", "direct", "ring", "recursive-doubling",
  //   "halving-doubling", "open-mpi"), or a table as Communicator::algorithms() prints it:
  //   "65536:recursive-doubling,direct"
  std::string algorithm = "auto";
  // The file of measured tables, one for each set of hosts; empty: none is kept.
  std::filesystem::path tables = default_tables();
  // The name of this rank's host; empty: the machine's. Ranks with the same name share memory.
  std::string host = {};

  // $XDG_CACHE_HOME or ~/.cache, /desta/collectives.json; empty where there is no home.
  [[nodiscard]] static std::filesystem::path default_tables();
};

// A communicator over all ranks of the job. Collective. `backend` is one of
//   "auto":  "mpi", or "local" in a job of one
//   "local": a job of one; host memory
//   "mpi":   host memory; shared memory within a host, messages between hosts
//   "nccl":  memory of the GPU whose number is the rank's local rank (of the only GPU, where a
//            launcher shows each rank its own), one GPU a rank
// Throws ConfigError when the name is unknown or this build or machine cannot offer it.
[[nodiscard]] std::unique_ptr<Communicator> make_communicator(std::string_view backend,
                                                              const MpiEnvironment& environment,
                                                              CommunicatorOptions options = {});

}  // namespace desta::runtime
