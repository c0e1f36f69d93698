// The control plane over MPI, on a communicator of its own. One thread makes all its MPI calls. It
// sleeps while nothing happens, for 20 us at first and up to 0.5 ms, so that it costs a computing
// core next to nothing; a message therefore takes up to about 0.5 ms to a node that was idle.
#pragma once

#include <memory>

#include "runtime/transport/mpi_environment.h"
#include "runtime/transport/transport.h"

namespace desta::runtime {

// Collective over all ranks of the job. The environment must outlive the transport.
[[nodiscard]] std::unique_ptr<Transport> make_mpi_transport(const MpiEnvironment& environment);

}  // namespace desta::runtime
