// The links over MPI. Polled, so that a wait can end and say for whom it waited.
#pragma once

#include <mpi.h>

#include <memory>

#include "runtime/collectives/peer_links.h"

namespace desta::runtime {

// Over the ranks of `parent`, which is duplicated: messages meet no others. Collective. Messages of
// more than 1 GiB travel in parts. Tags of callers are at least 0 and below MPI's upper bound.
[[nodiscard]] std::unique_ptr<PeerLinks> make_mpi_links(MPI_Comm parent);

}  // namespace desta::runtime
