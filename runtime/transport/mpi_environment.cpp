#include "runtime/transport/mpi_environment.h"

#include <mpi.h>

#include <cstdlib>
#include <exception>

#include "runtime/transport/mpi_check.h"

namespace desta::runtime {
namespace {

std::string detect_launcher() {
  if (std::getenv("SLURM_STEP_ID") != nullptr) {
    return "slurm";
  }
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMI_SIZE") != nullptr ||
      std::getenv("PMIX_RANK") != nullptr) {
    return "mpirun";
  }
  return "none";
}

}  // namespace

MpiEnvironment::MpiEnvironment(int* argc, char*** argv)
    // MPI_Init sets launcher-like variables in a process started alone, so look before.
    : exceptions_at_start_(std::uncaught_exceptions()), launcher_(detect_launcher()) {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE) {
    throw TransportError("this MPI was built without MPI_THREAD_MULTIPLE; use one that has it");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  MPI_Comm host = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &host),
            "finding the ranks of this host");
  MPI_Comm_rank(host, &local_rank_);
  MPI_Comm_size(host, &local_size_);
  MPI_Comm_free(&host);
}

MpiEnvironment::~MpiEnvironment() {
  const bool unwinding = std::uncaught_exceptions() > exceptions_at_start_;
  if (unwinding && size_ > 1) {
    return;
  }
  MPI_Finalize();
}

void MpiEnvironment::abort_job(int exit_code) {
  if (mpi_is_live()) {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  std::_Exit(exit_code);
}

}  // namespace desta::runtime
