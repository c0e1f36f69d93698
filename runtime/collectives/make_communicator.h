// The choice of a data-plane backend at run time.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "runtime/collectives/communicator.h"
#include "runtime/transport/mpi_environment.h"

namespace desta::runtime {

struct CommunicatorOptions {
  // How long one operation may wait for a peer.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
};

// A communicator over all ranks of the job. Collective. `backend` is one of
//   "auto":  "mpi", or "local" in a job of one
//   "local": a job of one; host memory
//   "mpi":   host memory
//   "nccl":  memory of the GPU whose number is the rank's local rank (of the only GPU, where a launcher
//            shows each rank its own), one GPU a rank
// Throws ConfigError when the name is unknown or this build or machine cannot offer it.
[[nodiscard]] std::unique_ptr<Communicator> make_communicator(std::string_view backend,
                                                              const MpiEnvironment& environment,
                                                              CommunicatorOptions options = {});

}  // namespace desta::runtime
