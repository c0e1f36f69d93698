// Who is to blame when nothing moves. Private to this folder.
#pragma once

#include <span>
#include <vector>

#include "runtime/actor/node_agent.h"
#include "runtime/telemetry/snapshot.h"

namespace desta::runtime::detail {

// Follows each call that has waited for `seconds` or more to the one that waits for nobody: an actor
// that computes, a node that is silent, or a circle of actors that wait for each other. The one that
// most calls wait for is the culprit. An empty report when no call waits that long.
[[nodiscard]] HangReport find_hang(std::span<const WaitInfo> waits, std::span<const NodeInfo> nodes,
                                   double seconds);

}  // namespace desta::runtime::detail
