// The communicator of host memory over MPI: shared memory within hosts, MPI's messages between
// them. README.md in this folder states algorithms and guarantees.
#pragma once

#include <mpi.h>

#include <memory>

#include "runtime/collectives/communicator.h"
#include "runtime/collectives/group_communicator.h"

namespace desta::runtime {

// A communicator over the ranks of `parent` (duplicated: its messages meet no others). Collective.
[[nodiscard]] std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm parent,
                                                                  GroupOptions options = {});

}  // namespace desta::runtime
