// Where the ranks of a job sit, and on which cores: gathered at start, put right where the launcher
// has left it open, and shown as one line a node.
#pragma once

#include <string>
#include <vector>

#include "launch/config.h"
#include "launch/job_environment.h"
#include "runtime/transport/mpi_environment.h"

namespace desta::launch {

// One rank and its place.
struct Seat {
  std::string node;
  int rank = 0;
  int local_rank = 0;
  std::vector<int> cores;  // that the rank may run on, ascending
  bool pinned = false;     // by us
  std::string gpus;        // as the environment tells it

  template <class Archive>
  void serialize(Archive& archive) {
    archive(node, rank, local_rank, cores, pinned, gpus);
  }
};

// The cores that the calling thread may run on, ascending.
[[nodiscard]] std::vector<int> allowed_cores();

// The cores that the rank of this seat should be pinned to: its share of the node's, in the order
// of local ranks. Empty where the ranks are left as they are: some rank is bound already (they may
// not all run on the same cores), or ranks x threads is not the number of cores that they were
// given. A job with fewer ranks than cores stays unpinned, for it may have neighbours.
[[nodiscard]] std::vector<int> cores_to_pin(const Seat& mine, const std::vector<Seat>& seats,
                                            int threads);

// Collects all seats, by rank, and pins this rank where runtime.bind allows and cores_to_pin asks
// for it. Collective. To be called before threads are started: they inherit the cores.
[[nodiscard]] std::vector<Seat> take_seats(const runtime::MpiEnvironment& mpi,
                                           const JobEnvironment& environment,
                                           const RuntimeOptions& options);

// For people: the launcher and the job, the end of its time limit if there is one, then a line a
// node:
//   mpirun (Open MPI), Slurm job 17, restart 1; 4 ranks on 2 nodes; until 21:40:12
//   node n1: ranks 0-1; cores 0 | 1 (pinned); GPUs 0 | 1
// A job of one rank has one line.
[[nodiscard]] std::vector<std::string> describe_layout(const JobEnvironment& environment,
                                                       const std::vector<Seat>& seats);

}  // namespace desta::launch
