// Which node an actor, or a group of bundles of resources, goes to. Pure functions: the same input
// gives the same answer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/actor/resources.h"

namespace desta::runtime {

// The strategies of Ray's placement groups; Ray's machine is our host. Several nodes (processes)
// may be on one host. A bundle lies wholly on one node.
enum class PlacementStrategy : std::uint8_t {
  kPack,          // as few hosts as possible, then as few nodes
  kSpread,        // as evenly over the hosts as possible, then over the nodes
  kStrictPack,    // all on one host, on as few of its nodes as possible
  kStrictSpread,  // each bundle on a host of its own
};

struct PlacementNode {
  int node = 0;  // each once
  std::string host;
  Resources free;
  Resources total = {};  // a total below what is free means that all of it is free
};

// One node for each bundle, or nothing when it is not possible: all or none. Ties go to the lowest
// node. ConfigError on a negative amount.
//
// STRICT_SPREAD is a matching of bundles and hosts and always exact. The others are bin packing:
// bundles are placed in decreasing order, the best candidate first, and up to kSearchedBundles of
// them with back-tracking over at most kSearchSteps placements. What that covers (8 bundles on 5
// nodes at least, and far more where nodes are alike) is exact: a placement is found when there is
// one, and it is the best by its strategy's measure (PACK: hosts, nodes. SPREAD: the sum over hosts
// of their bundles squared, the same over nodes). Beyond, the best that was found.
[[nodiscard]] std::optional<std::vector<int>> place_bundles(std::span<const Resources> bundles,
                                                            PlacementStrategy strategy,
                                                            std::span<const PlacementNode> nodes);

inline constexpr std::size_t kSearchedBundles = 8;
inline constexpr std::size_t kSearchSteps = 1'000'000;

// One node for one actor: the one whose most used resource is least used with it (then the second
// most used, then the lowest node); nothing when none has room. ConfigError on a negative amount.
[[nodiscard]] std::optional<int> place_one(const Resources& need,
                                           std::span<const PlacementNode> nodes);

}  // namespace desta::runtime
