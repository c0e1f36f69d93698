// Shared objects while the order of things is searched: references wander, nodes are killed.
#include <gtest/gtest.h>

#include "keeper_under_test.h"
#include "runtime/actor/deterministic.h"
#include "runtime/core/random.h"

namespace desta::runtime::testing {
namespace {

using detail::ObjectCounts;

// References wander among actors of all nodes in an order that the seed chooses.
void wander(std::uint64_t seed) {
  SCOPED_TRACE(seed);
  register_keeper();
  DeterministicCluster cluster(3, seed, {on_host("a"), on_host("a"), on_host("b")});
  Random random(seed);
  {
    std::vector<std::vector<ActorRef<Keeper>>> seen_from;
    for (int node = 0; node < 3; ++node) {
      (void)cluster.node(0).spawn<Keeper>({.name = std::to_string(node), .node = node});
    }
    for (int node = 0; node < 3; ++node) {
      seen_from.emplace_back();
      for (int other = 0; other < 3; ++other) {
        seen_from.back().push_back(cluster.node(node).get_actor<Keeper>(std::to_string(other)));
      }
    }
    std::vector<Future<void>> done;
    std::vector<std::pair<Future<int>, int>> sums;
    for (int turn = 0; turn < 40; ++turn) {
      const int from = static_cast<int>(random.below(3));
      const auto& keeper = seen_from[static_cast<std::size_t>(from)][random.below(3)];
      switch (random.below(6)) {
        case 0: {
          const std::size_t bytes = random.below(8) == 0 ? 110'000 : 20;
          const Buffer value = pattern(bytes, turn);
          const auto object = cluster.node(from).put(value);
          sums.emplace_back(keeper.call<&Keeper::sum>(object), sum_of(value));
          done.push_back(keeper.call<&Keeper::keep>(object));
          break;
        }
        case 1:
          done.push_back(keeper.call<&Keeper::hand_over>(
              seen_from[static_cast<std::size_t>(from)][random.below(3)]));
          break;
        case 2:
          done.push_back(keeper.call<&Keeper::keep_all>(keeper.call<&Keeper::shelf>().get()));
          break;
        case 3:
          done.push_back(keeper.call<&Keeper::forget_last>());
          break;
        case 4:
          if (const auto object = keeper.call<&Keeper::last>().get(); object.id() != 0) {
            EXPECT_NO_THROW((void)cluster.node(from).get(object));
          }
          break;
        default:
          for (std::uint64_t steps = random.below(20); steps > 0; --steps) {
            (void)cluster.step();
          }
      }
    }
    for (const auto& [sum, expected] : sums) {
      EXPECT_EQ(sum.get(), expected);
    }
    wait_all(done);
    cluster.run_until_idle();
    for (int node = 0; node < 3; ++node) {
      const Shelf shelf = seen_from[0][static_cast<std::size_t>(node)].call<&Keeper::shelf>().get();
      for (const auto& object : shelf.all) {
        EXPECT_NO_THROW((void)cluster.node(0).get(object));
      }
      seen_from[0][static_cast<std::size_t>(node)].call<&Keeper::forget>().get();
    }
  }
  cluster.run_until_idle();
  for (int node = 0; node < 3; ++node) {
    const ObjectCounts counts = counts_of(cluster.node(node));
    EXPECT_TRUE(is_empty(cluster.node(node)))
        << "node " << node << ": " << counts.objects << " objects, " << counts.in_transit
        << " in transit, " << counts.bytes << " bytes";
  }
}

TEST(ObjectSearch, ReferencesNeverDangleAndEverythingIsFreed) {
  for (std::uint64_t seed = 1; seed <= 300 && !::testing::Test::HasFailure(); ++seed) {
    wander(seed);
  }
}

// A node is killed while references wander: the others still free what they can, and nobody waits
// for ever.
TEST(ObjectSearch, LossOfANodeNeverLeavesAnObjectOfTheOthersBehind) {
  register_keeper();
  for (std::uint64_t seed = 1; seed <= 200 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    DeterministicCluster cluster(3, seed, {on_host("a"), on_host("b"), on_host("b")});
    cluster.run_until_idle();  // a rank that was never there would be waited for
    Random random(seed);
    {
      const auto near = cluster.node(0).spawn<Keeper>({.node = 1});
      const auto doomed = cluster.node(0).spawn<Keeper>({.node = 2});
      const auto own = cluster.node(0).put(pattern(110'000));
      std::vector<Future<void>> done;
      std::vector<Future<ObjectRef<Buffer>>> made;
      done.push_back(doomed.call<&Keeper::keep>(own));
      done.push_back(doomed.call<&Keeper::pass_on>(near));
      made.push_back(doomed.call<&Keeper::make>(110'000, 1));
      const auto sum = doomed.call<&Keeper::sum>(own);
      for (std::uint64_t steps = random.below(60); steps > 0; --steps) {
        (void)cluster.step();
      }
      cluster.kill(2);
      (void)wait(done, WaitFor::kAll);
      (void)wait(made, WaitFor::kAll);
      (void)wait(std::vector{sum}, WaitFor::kAll);
      if (!made[0].error().has_value()) {
        try {
          (void)cluster.node(0).get(made[0].get());
        } catch (const ObjectLost&) {
        }
      }
      EXPECT_EQ(near.call<&Keeper::sum>(own).get(), sum_of(pattern(110'000)));
      near.call<&Keeper::forget>().get();
    }
    cluster.run_for(std::chrono::seconds(1));
    EXPECT_TRUE(is_empty(cluster.node(0)));
    EXPECT_TRUE(is_empty(cluster.node(1)));
  }
}

}  // namespace
}  // namespace desta::runtime::testing
