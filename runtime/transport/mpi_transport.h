// The messages of an actor system over MPI, on a communicator of their own.
//
// Whoever sends makes the MPI call itself. Messages are looked for by a thread that waits for an
// answer anyway (Transport::try_attend()), or by a standby thread that sleeps until another rank
// rings (runtime/transport/doorbell.h): an idle rank costs next to nothing, a computing rank is not
// disturbed, and two ranks that talk do so at MPI's own speed.
#pragma once

#include <memory>

#include "runtime/transport/mpi_environment.h"
#include "runtime/transport/transport.h"

namespace desta::runtime {

// Collective over all ranks of the job. The environment must outlive the transport.
[[nodiscard]] std::unique_ptr<Transport> make_mpi_transport(const MpiEnvironment& environment);

}  // namespace desta::runtime
