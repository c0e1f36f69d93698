// Stands in for nccl_communicator.cpp where the build found no NCCL.
#include "runtime/collectives/nccl_communicator.h"
#include "runtime/core/error.h"

namespace desta::runtime {

bool nccl_is_built() { return false; }

std::unique_ptr<Communicator> make_nccl_communicator(std::unique_ptr<Communicator> /*bootstrap*/,
                                                     NcclCommunicatorOptions /*options*/) {
  throw ConfigError(
      "the 'nccl' communicator is not in this build: install NCCL and build again, or choose "
      "'mpi'");
}

}  // namespace desta::runtime
