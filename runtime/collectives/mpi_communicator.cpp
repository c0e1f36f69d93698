#include "runtime/collectives/mpi_communicator.h"

#include <utility>

#include "runtime/collectives/mpi_links.h"

namespace desta::runtime {

std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm parent, GroupOptions options) {
  return make_group_communicator(make_mpi_links(parent), std::move(options));
}

}  // namespace desta::runtime
