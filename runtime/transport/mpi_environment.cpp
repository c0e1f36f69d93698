#include "runtime/transport/mpi_environment.h"

#include <fmt/core.h>
#include <mpi.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <numeric>
#include <thread>

#include "runtime/transport/mpi_check.h"

namespace desta::runtime {
namespace {

// Has every pair of ranks connect while one thread alone calls MPI and one side alone begins. Left to
// the first messages, two ranks that begin at once make two connections, and Open MPI 4.1's TCP
// transport now and then takes the one that was given up for a peer that is gone, or crashes on it
// (its pull request 14403).
void connect_all(int rank, int size) {
  constexpr int kTag = 0;
  const auto send = [&](int peer) {
    check_mpi(MPI_Send(nullptr, 0, MPI_BYTE, peer, kTag, MPI_COMM_WORLD),
              fmt::format("connecting to rank {}", peer));
  };
  const auto receive = [&](int peer) {
    check_mpi(MPI_Recv(nullptr, 0, MPI_BYTE, peer, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
              fmt::format("waiting for the connection of rank {}", peer));
  };
  for (int distance = 1; 2 * distance <= size; ++distance) {
    const int next = (rank + distance) % size;
    const int previous = (rank - distance + size) % size;
    if (next != previous || rank < next) {
      send(next);
    }
    if (next != previous || rank > next) {
      receive(previous);
    }
  }
}

}  // namespace

MpiEnvironment::MpiEnvironment(int* argc, char*** argv)
    : exceptions_at_start_(std::uncaught_exceptions()) {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_MULTIPLE) {
    throw TransportError("this MPI was built without MPI_THREAD_MULTIPLE; use one that has it");
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  connect_all(rank_, size_);
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

std::vector<std::string> MpiEnvironment::all_gather(const std::string& mine) const {
  const auto ranks = static_cast<std::size_t>(size_);
  std::vector<int> sizes(ranks);
  const int my_size = static_cast<int>(mine.size());
  check_mpi(MPI_Allgather(&my_size, 1, MPI_INT, sizes.data(), 1, MPI_INT, MPI_COMM_WORLD),
            "gathering sizes from all ranks");
  std::vector<int> offsets(ranks);
  std::exclusive_scan(sizes.begin(), sizes.end(), offsets.begin(), 0);
  std::string all(static_cast<std::size_t>(offsets.back() + sizes.back()), '\0');
  check_mpi(MPI_Allgatherv(mine.data(), my_size, MPI_CHAR, all.data(), sizes.data(), offsets.data(),
                           MPI_CHAR, MPI_COMM_WORLD),
            "gathering from all ranks");
  std::vector<std::string> parts;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    parts.push_back(
        all.substr(static_cast<std::size_t>(offsets[rank]), static_cast<std::size_t>(sizes[rank])));
  }
  return parts;
}

void MpiEnvironment::abort_job(int exit_code) {
  if (mpi_is_live()) {
    // srun throws away what a task wrote in the moment before its step is ended: seen with 22.05, on a
    // line written just before MPI_Abort.
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    MPI_Abort(MPI_COMM_WORLD, exit_code);
  }
  std::_Exit(exit_code);
}

}  // namespace desta::runtime
