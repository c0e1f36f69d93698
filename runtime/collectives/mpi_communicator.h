// The data plane over MPI. Collectives are built from point-to-point messages so that a wait can
// end and say for whom it waited; README.md in this folder states algorithms and guarantees.
#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>

#include "runtime/collectives/communicator.h"

namespace desta::runtime {

struct MpiCommunicatorOptions {
  // How long one operation may wait for a peer before it ends in a TransportError. The
  // communicator is of no use after that.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
};

// A communicator over the ranks of `parent` (duplicated: its messages meet no others). Collective.
[[nodiscard]] std::unique_ptr<Communicator> make_mpi_communicator(
    MPI_Comm parent, MpiCommunicatorOptions options = {});

}  // namespace desta::runtime
