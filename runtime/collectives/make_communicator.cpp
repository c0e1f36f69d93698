#include "runtime/collectives/make_communicator.h"

#include <mpi.h>

#include <cstdlib>

#include "runtime/collectives/local_communicator.h"
#include "runtime/collectives/mpi_communicator.h"
#include "runtime/collectives/nccl_communicator.h"
#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

GroupOptions group_options(const CommunicatorOptions& options) {
  return {.backend = "mpi",
          .timeout = options.timeout,
          .algorithm = options.algorithm,
          .tables = options.tables,
          .host = options.host};
}

}  // namespace

std::filesystem::path CommunicatorOptions::default_tables() {
  const std::filesystem::path file = "desta/collectives.json";
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return cache / file;
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return std::filesystem::path(home) / ".cache" / file;
  }
  return {};
}

std::unique_ptr<Communicator> make_communicator(std::string_view backend,
                                                const MpiEnvironment& environment,
                                                CommunicatorOptions options) {
  if (backend == "auto") {
    backend = environment.size() == 1 ? "local" : "mpi";
  }
  if (backend == "local") {
    if (environment.size() != 1) {
      throw ConfigError("the 'local' communicator is for one rank, the job has {}; choose 'mpi'",
                        environment.size());
    }
    return make_local_communicator();
  }
  if (backend == "mpi") {
    return make_mpi_communicator(MPI_COMM_WORLD, group_options(options));
  }
  if (backend == "nccl") {
    return make_nccl_communicator(make_mpi_communicator(MPI_COMM_WORLD, group_options(options)),
                                  {.device = environment.local_rank(), .timeout = options.timeout});
  }
  throw ConfigError("there is no communicator '{}'; choose auto, local, mpi or nccl", backend);
}

}  // namespace desta::runtime
