// What MPI alone takes for what our calls are built on: two ranks, one message there and one back.
//
//   mpirun -n 2 mpi_pingpong
//
// remote_call_64B: MPI_Send and MPI_Recv of 64 bytes, 20,000 times after 2,000, each timed on
// rank 0. remote_16MiB_bandwidth: the same with 16 MiB in buffers that are used again, 40 times
// after 4; the figure is bytes sent one way by the median of half a round trip. Waiting ranks spin,
// as MPI does by default; on fewer cores than ranks the figures say nothing.
#include <mpi.h>

#include <cstddef>
#include <cstdio>
#include <vector>

#include "bench/figure.h"

namespace {

// Seconds of each round trip; empty on rank 1.
std::vector<double> ping_pong(int rank, std::size_t bytes, int warm_up, int rounds) {
  std::vector<std::byte> out(bytes);
  std::vector<std::byte> in(bytes);
  const int count = static_cast<int>(bytes);
  const int peer = 1 - rank;
  std::vector<double> seconds;
  MPI_Barrier(MPI_COMM_WORLD);
  for (int round = -warm_up; round < rounds; ++round) {
    const auto start = desta::bench::Clock::now();
    if (rank == 0) {
      MPI_Send(out.data(), count, MPI_BYTE, peer, 0, MPI_COMM_WORLD);
      MPI_Recv(in.data(), count, MPI_BYTE, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      if (round >= 0) {
        seconds.push_back(desta::bench::seconds_since(start));
      }
    } else {
      MPI_Recv(in.data(), count, MPI_BYTE, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      MPI_Send(out.data(), count, MPI_BYTE, peer, 0, MPI_COMM_WORLD);
    }
  }
  return seconds;
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  int ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (ranks != 2) {
    if (rank == 0) {
      std::fputs("error: two ranks are needed: mpirun -n 2 mpi_pingpong\n", stderr);
    }
    MPI_Finalize();
    return 2;
  }
  const std::vector<double> small = ping_pong(rank, 64, 2'000, 20'000);
  constexpr std::size_t kLarge = std::size_t{16} << 20;
  const std::vector<double> large = ping_pong(rank, kLarge, 4, 40);
  if (rank == 0) {
    desta::bench::print_latency("MPI", "remote_call_64B", small);
    const double one_way = desta::bench::quantile(large, 0.5) / 2;
    desta::bench::print_figure("MPI", "remote_16MiB_bandwidth", kLarge / one_way / 1e9, "GB/s");
  }
  MPI_Finalize();
  return 0;
}
