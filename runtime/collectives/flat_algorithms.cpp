#include "runtime/collectives/flat_algorithms.h"

namespace desta::runtime {

void all_reduce_with(Flat algorithm, PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                     const Operation& operation) {
  switch (algorithm) {
    case Flat::kDirect:
      return direct_all_reduce(group, vectors, scratch, operation);
    case Flat::kRing:
      return ring_all_reduce(group, vectors, scratch, operation);
    case Flat::kRecursiveDoubling:
      return recursive_doubling_all_reduce(group, vectors, scratch, operation);
    case Flat::kHalvingDoubling:
      return halving_doubling_all_reduce(group, vectors, scratch, operation);
    case Flat::kNative:
      return native_all_reduce(group, vectors, scratch, operation);
  }
}

std::string_view name_of(Flat algorithm) {
  switch (algorithm) {
    case Flat::kDirect:
      return "direct";
    case Flat::kRing:
      return "ring";
    case Flat::kRecursiveDoubling:
      return "recursive-doubling";
    case Flat::kHalvingDoubling:
      return "halving-doubling";
    case Flat::kNative:
      return "open-mpi";
  }
  return "unknown";
}

std::optional<Flat> flat_named(std::string_view name) {
  for (const Flat algorithm : kAllFlat) {
    if (name_of(algorithm) == name) {
      return algorithm;
    }
  }
  return std::nullopt;
}

}  // namespace desta::runtime
