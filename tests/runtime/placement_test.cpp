// Where bundles go: every strategy against all possible placements, and cases with a name.
#include "runtime/actor/placement.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

using Strategy = PlacementStrategy;
using Placement = std::vector<int>;

Resources cpu(double cores) { return {.cpu = cores}; }
PlacementNode node(int number, std::string host, Resources free) {
  return {.node = number, .host = std::move(host), .free = free};
}

// Hosts, then nodes; for kSpread the sums of squares that the header speaks of.
using Cost = std::pair<std::size_t, std::size_t>;

struct Shape {
  std::map<std::string, std::size_t> hosts;
  std::map<int, std::size_t> nodes;
};

std::optional<Shape> shape_of(const Placement& placement, const std::vector<Resources>& bundles,
                              const std::vector<PlacementNode>& nodes) {
  std::map<int, PlacementNode> left;
  for (const auto& each : nodes) {
    left[each.node] = each;
  }
  Shape shape;
  for (std::size_t i = 0; i < bundles.size(); ++i) {
    PlacementNode& at = left.at(placement[i]);
    if (bundles[i].cpu > at.free.cpu + 1e-6 || bundles[i].gpu > at.free.gpu + 1e-6 ||
        bundles[i].memory > at.free.memory) {
      return std::nullopt;
    }
    at.free.cpu -= bundles[i].cpu;
    at.free.gpu -= bundles[i].gpu;
    at.free.memory -= bundles[i].memory;
    ++shape.hosts[at.host];
    ++shape.nodes[at.node];
  }
  return shape;
}

std::optional<Cost> cost_of(const Placement& placement, Strategy strategy,
                            const std::vector<Resources>& bundles,
                            const std::vector<PlacementNode>& nodes) {
  const auto shape = shape_of(placement, bundles, nodes);
  if (!shape) {
    return std::nullopt;
  }
  const auto squares = [](const auto& counts) {
    std::size_t sum = 0;
    for (const auto& [key, count] : counts) {
      sum += count * count;
    }
    return sum;
  };
  switch (strategy) {
    case Strategy::kPack:
      return Cost{shape->hosts.size(), shape->nodes.size()};
    case Strategy::kSpread:
      return Cost{squares(shape->hosts), squares(shape->nodes)};
    case Strategy::kStrictPack:
      return shape->hosts.size() == 1 ? std::optional(Cost{1, shape->nodes.size()}) : std::nullopt;
    case Strategy::kStrictSpread:
      return shape->hosts.size() == bundles.size() ? std::optional(Cost{0, 0}) : std::nullopt;
  }
  return std::nullopt;
}

std::optional<Cost> best_of_all(Strategy strategy, const std::vector<Resources>& bundles,
                                const std::vector<PlacementNode>& nodes) {
  std::optional<Cost> best;
  std::size_t count = 1;
  for (std::size_t i = 0; i < bundles.size(); ++i) {
    count *= nodes.size();
  }
  for (std::size_t code = 0; code < count; ++code) {
    Placement placement;
    for (std::size_t i = 0, rest = code; i < bundles.size(); ++i, rest /= nodes.size()) {
      placement.push_back(nodes[rest % nodes.size()].node);
    }
    const auto cost = cost_of(placement, strategy, bundles, nodes);
    if (cost && (!best || *cost < *best)) {
      best = cost;
    }
  }
  return best;
}

TEST(Placement, IsAsGoodAsTheBestOfAllPlacements) {
  std::mt19937 random(7);
  const auto draw = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  std::map<Strategy, std::pair<int, int>> seen;  // possible, impossible
  for (int round = 0; round < 1500; ++round) {
    std::vector<PlacementNode> nodes;
    for (int i = draw(1, 5); i > 0; --i) {
      nodes.push_back({.node = i * 3,
                       .host = std::string(1, static_cast<char>('a' + draw(0, 3))),
                       .free = {.cpu = draw(0, 8) * 0.5,
                                .gpu = draw(0, 4) * 0.5,
                                .memory = static_cast<std::uint64_t>(draw(2, 9))}});
    }
    std::vector<Resources> bundles;
    for (int i = draw(1, 5); i > 0; --i) {
      bundles.push_back({.cpu = draw(0, 4) * 0.5,
                         .gpu = draw(0, 2) * 0.5,
                         .memory = static_cast<std::uint64_t>(draw(0, 3))});
    }
    for (const Strategy strategy :
         {Strategy::kPack, Strategy::kSpread, Strategy::kStrictPack, Strategy::kStrictSpread}) {
      const auto best = best_of_all(strategy, bundles, nodes);
      const auto found = place_bundles(bundles, strategy, nodes);
      ++(best ? seen[strategy].first : seen[strategy].second);
      ASSERT_EQ(found.has_value(), best.has_value())
          << "round " << round << ", strategy " << static_cast<int>(strategy);
      if (found) {
        ASSERT_EQ(found->size(), bundles.size());
        ASSERT_EQ(cost_of(*found, strategy, bundles, nodes), best)
            << "round " << round << ", strategy " << static_cast<int>(strategy);
      }
    }
  }
  for (const auto& [strategy, counts] : seen) {
    EXPECT_GT(counts.first, 100) << static_cast<int>(strategy);
    EXPECT_GT(counts.second, 100) << static_cast<int>(strategy);
  }
}

TEST(Placement, DoesNotDependOnTheOrderOfTheNodes) {
  std::vector<PlacementNode> nodes{node(4, "b", cpu(2)), node(0, "a", cpu(2)), node(2, "b", cpu(2)),
                                   node(1, "a", cpu(2))};
  const std::vector<Resources> bundles(3, cpu(1));
  std::mt19937 random(1);
  const std::map<Strategy, Placement> expected{{Strategy::kPack, {0, 0, 1}},
                                               {Strategy::kSpread, {0, 2, 1}},
                                               {Strategy::kStrictPack, {0, 0, 1}}};
  for (int round = 0; round < 20; ++round) {
    std::shuffle(nodes.begin(), nodes.end(), random);
    for (const auto& [strategy, placement] : expected) {
      EXPECT_EQ(place_bundles(bundles, strategy, nodes), placement) << static_cast<int>(strategy);
    }
    EXPECT_EQ(place_bundles(bundles, Strategy::kStrictSpread, nodes), std::nullopt);
    EXPECT_EQ(place_bundles(std::span(bundles).first(2), Strategy::kStrictSpread, nodes),
              (Placement{2, 0}));
  }
}

TEST(Placement, PackLeavesTheFirstHostForOneThatHoldsAll) {
  const std::vector<PlacementNode> nodes{node(0, "a", cpu(3)), node(1, "b", cpu(4))};
  EXPECT_EQ(place_bundles(std::vector(4, cpu(1)), Strategy::kPack, nodes), (Placement{1, 1, 1, 1}));
  EXPECT_EQ(place_bundles(std::vector(5, cpu(1)), Strategy::kPack, nodes),
            (Placement{0, 0, 0, 1, 1}));
  EXPECT_EQ(place_bundles(std::vector(8, cpu(1)), Strategy::kPack, nodes), std::nullopt);
}

TEST(Placement, NodesOfOneSizeDifferByTheirNeighbours) {
  // Nodes 0 and 1 look alike, but host b is needed for its devices anyway.
  const std::vector<PlacementNode> nodes{node(0, "a", cpu(2)), node(1, "b", cpu(2)),
                                         node(2, "b", {.gpu = 2}), node(3, "c", cpu(8))};
  const std::vector<Resources> bundles{cpu(8), cpu(2), {.gpu = 0.5}};
  EXPECT_EQ(place_bundles(bundles, Strategy::kPack, nodes), (Placement{3, 1, 2}));
}

TEST(Placement, StrictPackFindsThePackingThatFirstFitMisses) {
  // 4 2 2 | 3 3 2 fills both nodes; first-fit decreasing starts with 4 3 | 3 2 2 and has no room
  // for the last 2.
  const std::vector<PlacementNode> nodes{node(0, "a", cpu(8)), node(1, "a", cpu(8))};
  const std::vector<Resources> bundles{cpu(4), cpu(3), cpu(3), cpu(2), cpu(2), cpu(2)};
  EXPECT_NE(place_bundles(bundles, Strategy::kStrictPack, nodes), std::nullopt);
  EXPECT_NE(place_bundles(bundles, Strategy::kPack, nodes), std::nullopt);
  EXPECT_NE(place_bundles(bundles, Strategy::kSpread, nodes), std::nullopt);
}

TEST(Placement, StrictSpreadMovesAnEarlierBundleAway) {
  // Bundle 0 fits both hosts, bundle 1 only the first.
  const std::vector<PlacementNode> nodes{node(0, "a", {.cpu = 1, .gpu = 1}), node(1, "b", cpu(1))};
  const std::vector<Resources> bundles{cpu(1), {.cpu = 1, .gpu = 1}};
  EXPECT_EQ(place_bundles(bundles, Strategy::kStrictSpread, nodes), (Placement{1, 0}));
}

TEST(Placement, StrictSpreadIsExactForManyBundles) {
  // Host i has i cores, bundle i needs 39 - i of them: only one order fits.
  std::vector<PlacementNode> nodes;
  std::vector<Resources> bundles;
  Placement expected;
  for (int i = 0; i < 40; ++i) {
    nodes.push_back(node(i, "host" + std::to_string(i), cpu(i)));
    bundles.push_back(cpu(39 - i));
    expected.push_back(39 - i);
  }
  EXPECT_EQ(place_bundles(bundles, Strategy::kStrictSpread, nodes), expected);
  bundles.back() = cpu(1);
  EXPECT_EQ(place_bundles(bundles, Strategy::kStrictSpread, nodes), std::nullopt);
}

TEST(Placement, SpreadUsesEveryHostAndDoublesUpWhereItMust) {
  const std::vector<PlacementNode> nodes{node(0, "a", cpu(8)), node(1, "a", cpu(8)),
                                         node(2, "b", cpu(1)), node(3, "c", cpu(8))};
  EXPECT_EQ(place_bundles(std::vector(3, cpu(1)), Strategy::kSpread, nodes), (Placement{0, 2, 3}));
  EXPECT_EQ(place_bundles(std::vector(5, cpu(1)), Strategy::kSpread, nodes),
            (Placement{0, 2, 3, 1, 3}));
}

TEST(Placement, ManyBundlesArePlacedTogether) {
  std::vector<PlacementNode> nodes;
  for (int i = 0; i < 64; ++i) {
    nodes.push_back(node(i, "host" + std::to_string(i / 8), {.cpu = 8, .gpu = 1}));
  }
  const std::vector<Resources> bundles(64, {.cpu = 4, .gpu = 0.5});
  const auto packed = place_bundles(bundles, Strategy::kPack, nodes);
  ASSERT_TRUE(packed);
  EXPECT_EQ(cost_of(*packed, Strategy::kPack, bundles, nodes), (Cost{4, 32}));
  const auto spread = place_bundles(bundles, Strategy::kSpread, nodes);
  ASSERT_TRUE(spread);
  EXPECT_EQ(cost_of(*spread, Strategy::kSpread, bundles, nodes), (Cost{8 * 64, 64}));
  EXPECT_FALSE(place_bundles(bundles, Strategy::kStrictPack, nodes));
  EXPECT_TRUE(place_bundles(std::span(bundles).first(16), Strategy::kStrictPack, nodes));
}

TEST(Placement, ThreeThirdsOfADeviceAreADevice) {
  const std::vector<PlacementNode> nodes{node(0, "a", {.cpu = 0, .gpu = 1})};
  const Resources third{.gpu = 1.0 / 3};
  EXPECT_TRUE(place_bundles(std::vector(3, third), Strategy::kStrictPack, nodes));
  EXPECT_FALSE(place_bundles(std::vector(4, third), Strategy::kStrictPack, nodes));
  // In double precision 1 - 0.9 is less than 0.1.
  const std::vector<Resources> parts{{.gpu = 0.9}, {.gpu = 0.1}};
  EXPECT_TRUE(place_bundles(parts, Strategy::kStrictPack, nodes));
}

TEST(Placement, NothingNeedsNoNode) {
  EXPECT_EQ(place_bundles({}, Strategy::kStrictPack, {}), Placement{});
  EXPECT_EQ(place_bundles(std::vector(1, cpu(0)), Strategy::kPack, {}), std::nullopt);
  EXPECT_EQ(place_one(cpu(0), {}), std::nullopt);
}

TEST(Placement, NegativeAmountsAreNamed) {
  const std::vector<PlacementNode> nodes{node(0, "a", cpu(1))};
  try {
    (void)place_bundles(std::vector{cpu(0), Resources{.gpu = -1}}, Strategy::kPack, nodes);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "bundle 1 asks for -1 gpu: it must be a number, 0 or more");
  }
  EXPECT_THROW((void)place_one(cpu(std::nan("")), nodes), ConfigError);
}

TEST(Placement, OneActorGoesWhereTheMostUsedResourceIsLeastUsed) {
  const std::vector<PlacementNode> nodes{
      {.node = 0, .host = "a", .free = cpu(3), .total = cpu(8)},  // 6 of 8 with it
      {.node = 1, .host = "a", .free = cpu(2), .total = cpu(4)},  // 3 of 4
      {.node = 2, .host = "b", .free = cpu(5), .total = cpu(8)},  // 4 of 8
      {.node = 3, .host = "b", .free = {.cpu = 8, .memory = 1}, .total = {.cpu = 8, .memory = 9}}};
  EXPECT_EQ(place_one(cpu(1), nodes), 2);
  EXPECT_EQ(place_one(cpu(6), nodes), 3);
  EXPECT_EQ(place_one({.cpu = 1, .gpu = 1}, nodes), std::nullopt);
  EXPECT_EQ(place_one(cpu(1), std::span(nodes).first(2)), 0) << "equal: the lowest node";
}

TEST(Placement, OneActorLooksAtTheNextResourceWhereTheFirstIsEqual) {
  // Every device is taken, as in training; cores still differ.
  const std::vector<PlacementNode> nodes{
      {.node = 0, .host = "a", .free = cpu(1), .total = {.cpu = 8, .gpu = 1}},
      {.node = 1, .host = "b", .free = cpu(7), .total = {.cpu = 8, .gpu = 1}}};
  EXPECT_EQ(place_one(cpu(1), nodes), 1);
}

TEST(ResourceLedger, TakesAllOrNothing) {
  ResourceLedger ledger({.cpu = 2, .gpu = 1, .memory = 100});
  EXPECT_TRUE(ledger.take({.cpu = 1, .gpu = 0.5, .memory = 60}));
  EXPECT_FALSE(ledger.take({.cpu = 1, .gpu = 0.5, .memory = 60}));
  EXPECT_EQ(ledger.free(), (Resources{.cpu = 1, .gpu = 0.5, .memory = 40}));
  ledger.give_back({.cpu = 1, .gpu = 0.5, .memory = 60});
  EXPECT_EQ(ledger.free(), ledger.total());
  EXPECT_THROW(ledger.give_back({.cpu = 1}), InternalError);
  EXPECT_TRUE(ledger.take({.cpu = 1}));
  EXPECT_THROW(ledger.give_back({.cpu = 1, .memory = 1}), InternalError);
  EXPECT_THROW((void)ledger.take({.cpu = -1}), ConfigError);
}

TEST(ResourceLedger, RoundingDoesNotAddUp) {
  ResourceLedger ledger({.cpu = 1, .gpu = 1});
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 7; ++i) {
      ASSERT_TRUE(ledger.take({.gpu = 1.0 / 7}));
    }
    ASSERT_FALSE(ledger.take({.gpu = 1.0 / 7}));
    ASSERT_GE(ledger.free().gpu, 0.0);
    for (int i = 0; i < 7; ++i) {
      ledger.give_back({.gpu = 1.0 / 7});
    }
  }
  EXPECT_EQ(ledger.free(), ledger.total());
}

}  // namespace
}  // namespace desta::runtime
