// Actors across processes. Rank 0 drives, the others serve.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "actors_under_test.h"
#include "mpi_job.h"
#include "runtime/transport/mpi_transport.h"

namespace desta::runtime::testing {
namespace {

// Runs `drive` on node 0 while the other nodes serve.
template <typename Drive>
void with_system(Drive drive) {
  register_probe();
  const auto transport = make_mpi_transport(job());
  ActorSystem system(*transport);
  if (system.node() == 0) {
    drive(system);
    system.shutdown();
  } else {
    system.run_until_shutdown();
  }
}

TEST(MpiActors, AnswerFromEveryRankAndShutDown) {
  with_system([](ActorSystem& system) {
    std::vector<Future<int>> sums;
    for (int node = 0; node < system.node_count(); ++node) {
      const auto probe = system.spawn<Probe>({.name = fmt::format("probe/{}", node), .node = node},
                                             ProbeOptions{.start = 100 * node});
      sums.push_back(probe.call<&Probe::add>(node));
    }
    const std::vector<int> results = get_all(sums);
    for (int node = 0; node < system.node_count(); ++node) {
      EXPECT_EQ(results[static_cast<std::size_t>(node)], 101 * node);
    }
    EXPECT_EQ(system.describe().size(), results.size());
  });
}

TEST(MpiActors, ErrorKeepsItsTypeAcrossProcesses) {
  with_system([](ActorSystem& system) {
    const auto probe =
        system.spawn<Probe>({.name = "stage/0", .node = system.node_count() - 1}, ProbeOptions{});
    EXPECT_EQ(message_of<DataError>([&] { probe.call<&Probe::fail>("data").get(); }),
              "corpus.jsonl: record 7 has no transcription (in actor stage/0, method fail)");
  });
}

TEST(MpiActors, KeepTheOrderOfCallsAndTakeLongMessages) {
  with_system([](ActorSystem& system) {
    const std::string megabyte(1 << 20, 'w');
    const auto probe = system.spawn<Probe>({.name = "p", .node = system.node_count() - 1},
                                           ProbeOptions{.words = {megabyte}});
    for (int i = 0; i < 500; ++i) {
      (void)probe.call<&Probe::append>(i);
    }
    const std::vector<int> numbers = probe.call<&Probe::numbers>().get();
    std::vector<int> expected(500);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(numbers, expected);
    EXPECT_EQ(probe.call<&Probe::words>().get().at(0), megabyte);
  });
}

TEST(MpiActors, CallEachOtherAcrossProcesses) {
  with_system([](ActorSystem& system) {
    const auto last = system.spawn<Probe>({.name = "last", .node = system.node_count() - 1},
                                          ProbeOptions{.start = 1});
    const auto first = system.spawn<Probe>({.name = "first", .node = 0}, ProbeOptions{.start = 2});
    EXPECT_EQ(last.call<&Probe::add_through>(first, 40).get(), 42);
  });
}

}  // namespace
}  // namespace desta::runtime::testing
