// All-reduces over messages alone, each in a file of its own, for any number of ranks. What each
// does, in how many steps and bytes, stands in README.md.
//
// Every result is computed once and copied, or by all ranks from the same operands in the same
// order (the lower rank's first), so all ranks hold the same bits, and so does every run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "runtime/collectives/operation.h"
#include "runtime/collectives/peer_group.h"
#include "runtime/collectives/reduction.h"
#include "runtime/collectives/scratch.h"

namespace desta::runtime {

// What is to be reduced; source and destination may be the same.
struct Vectors {
  const void* source = nullptr;
  void* destination = nullptr;
  std::size_t count = 0;
  Arithmetic arithmetic;
};

// Memory for an algorithm: `messages` for what comes from others, `partials` for sums on their way.
struct FlatScratch {
  Scratch messages;
  Scratch partials;
};

// Each rank takes its segment from all others, adds in rank order, hands the result to all.
void direct_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                       const Operation& operation);
// Segments travel around, growing; then the results do.
void ring_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                     const Operation& operation);
// Pairs exchange all they have, at distances 1, 2, 4, ...: few steps, many bytes.
void recursive_doubling_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                                   const Operation& operation);
// Pairs exchange halves, quarters, ..., then give them back in the opposite order (Rabenseifner).
void halving_doubling_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                                 const Operation& operation);
// The transport's own (MPI_Iallreduce); direct where it has none.
void native_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                       const Operation& operation);

enum class Flat : std::uint8_t { kDirect, kRing, kRecursiveDoubling, kHalvingDoubling, kNative };
inline constexpr Flat kAllFlat[] = {Flat::kDirect, Flat::kRing, Flat::kRecursiveDoubling,
                                    Flat::kHalvingDoubling, Flat::kNative};

void all_reduce_with(Flat algorithm, PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                     const Operation& operation);
// "direct", "ring", "recursive-doubling", "halving-doubling", "open-mpi".
[[nodiscard]] std::string_view name_of(Flat algorithm);
[[nodiscard]] std::optional<Flat> flat_named(std::string_view name);

}  // namespace desta::runtime
