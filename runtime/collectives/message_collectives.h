// The collectives besides all-reduce over messages alone.
#pragma once

#include <cstddef>

#include "runtime/collectives/flat_algorithms.h"

namespace desta::runtime {

// Every rank takes its segment of `count` elements from all others and adds in rank order. The
// source holds a segment a rank.
void pairwise_reduce_scatter(PeerGroup& group, const Vectors& vectors, Scratch& scratch,
                             const Operation& operation);
// Segments of `bytes` travel around; the source may be this rank's segment of the destination.
void ring_all_gather(PeerGroup& group, const void* source, void* destination, std::size_t bytes,
                     const Operation& operation);
// Pieces travel along the chain root, root + 1, ...: a rank passes one on while it takes the next.
void chain_broadcast(PeerGroup& group, void* data, std::size_t bytes, int root,
                     const Operation& operation);
// An empty message from everyone to everyone.
void message_barrier(PeerGroup& group, const Operation& operation);

}  // namespace desta::runtime
