// All-reduce of ranks on several hosts: in shared memory within each, messages between them. On
// every host the first `leader_count` ranks each take their share of the buffer to the other hosts,
// so that what crosses between hosts is what one rank a host would send, over all of its ranks'
// links.
#pragma once

#include <cstddef>

#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/host_collectives.h"

namespace desta::runtime {

struct HierarchicalGroups {
  HostCollectives& host;
  PeerGroup* leaders = nullptr;  // one rank of each host, this one among them; null: no leader
  std::size_t leader_count = 1;  // a host
  Flat flat = Flat::kDirect;     // between the leaders
};

void hierarchical_all_reduce(const HierarchicalGroups& groups, const Vectors& vectors,
                             FlatScratch& scratch, const Operation& operation);

}  // namespace desta::runtime
