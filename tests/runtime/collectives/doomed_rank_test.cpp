// Processes that are killed or stopped in the middle of a collective, under mpirun.
#include <gtest/gtest.h>

#include <regex>
#include <string>

#include "../../multiprocess/command.h"

namespace desta::runtime::testing {
namespace {

constexpr int kRanks = 4;

struct Fate {
  std::string signal;
  std::string collective;
  std::string algorithm;
  int hosts = 1;
};

// Every rank but rank 1 must name it, within the time set (500 ms when it is stopped, and a while for a
// busy machine). When it is killed that time is a minute, and the job is given 20 s: its end is seen.
void expect_all_name_rank_1(const Fate& fate) {
  SCOPED_TRACE(fmt::format("{} in {} by {} on {} hosts", fate.signal, fate.collective,
                           fate.algorithm, fate.hosts));
  // mpirun is not to end the job for the others. Messages go over TCP, as between hosts.
  const auto finished = tests::run_command(
      fmt::format(
          "{} --oversubscribe --enable-recovery --mca btl tcp,self --mca btl_tcp_if_include lo "
          "-n {} {} {} {} {} {}",
          DESTA_MPIEXEC, kRanks, DESTA_DOOMED_RANK, fate.signal, fate.collective, fate.algorithm,
          fate.hosts),
      20);
  for (int rank = 0; rank < kRanks; ++rank) {
    if (rank == 1) {
      continue;
    }
    std::smatch found;
    const std::regex line(fmt::format("rank {} after (-?[0-9]+) ms: ([^\n]*)", rank));
    ASSERT_TRUE(std::regex_search(finished.output, found, line))
        << "rank " << rank << " said nothing:\n"
        << finished.output;
    EXPECT_NE(found[2].str().find("rank 1 (host"), std::string::npos) << found[2];
    EXPECT_LT(std::stoi(found[1]), 5000) << found[0];
  }
}

TEST(DoomedRank, KilledInAnyCollectiveIsNamedByAll) {
  for (const char* collective :
       {"all-reduce", "small-all-reduce", "reduce-scatter", "all-gather", "broadcast", "barrier"}) {
    expect_all_name_rank_1({"KILL", collective, "auto", 1});
  }
}

TEST(DoomedRank, StoppedInAnyCollectiveIsNamedByAll) {
  for (const char* collective :
       {"all-reduce", "small-all-reduce", "reduce-scatter", "all-gather", "broadcast", "barrier"}) {
    expect_all_name_rank_1({"STOP", collective, "auto", 1});
  }
}

// Stopped alone: when a process that it has a TCP connection with dies, Open MPI 4.1 may crash.
TEST(DoomedRank, StoppedIsNamedByAllWhateverTheAlgorithm) {
  for (const char* algorithm :
       {"direct", "ring", "recursive-doubling", "halving-doubling", "open-mpi"}) {
    expect_all_name_rank_1({"STOP", "all-reduce", algorithm, 1});
  }
}

TEST(DoomedRank, StoppedIsNamedByAllBetweenHosts) {
  for (const char* collective :
       {"all-reduce", "reduce-scatter", "all-gather", "broadcast", "barrier"}) {
    expect_all_name_rank_1({"STOP", collective, "hierarchical", 2});
  }
}

}  // namespace
}  // namespace desta::runtime::testing
