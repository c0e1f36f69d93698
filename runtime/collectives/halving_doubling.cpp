#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/folding.h"
#include "runtime/collectives/partial_sums.h"
#include "runtime/collectives/partition.h"

namespace desta::runtime {
namespace {

// The elements of `blocks` parts from part `first`.
struct Range {
  std::size_t begin = 0;
  std::size_t count = 0;
};

Range range_of(const Partition& parts, std::size_t first, std::size_t blocks) {
  return {parts.begin(first), parts.begin(first + blocks) - parts.begin(first)};
}

// Sends one range and receives another, leaving out those that are empty.
void exchange(PeerGroup& group, int peer, const Partials& partials, Range out, std::byte* in,
              std::size_t in_count, const Operation& operation) {
  Transfers transfers(group, operation);
  if (in_count > 0) {
    transfers.receive(peer, in, in_count * partials.width());
  }
  if (out.count > 0) {
    transfers.send(peer, partials.at(out.begin), out.count * partials.width());
  }
  transfers.wait();
}

}  // namespace

void halving_doubling_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                                 const Operation& operation) {
  with_partials(vectors, scratch, [&](const Partials& partials) {
    const Folding folding(group);
    std::byte* const other = scratch.messages.take(partials.count * partials.width());
    folding.fold(group, partials, other, operation);
    if (!folding.is_aside()) {
      const auto parts = Partition::even(partials.count, folding.places(), partials.width());
      const std::size_t place = folding.place();
      // Halving: of the blocks that the pair has in common the lower place keeps the lower half.
      for (std::size_t distance = folding.places() / 2; distance > 0; distance /= 2) {
        const std::size_t partner = place ^ distance;
        const Range kept = range_of(parts, place / distance * distance, distance);
        const Range given = range_of(parts, partner / distance * distance, distance);
        exchange(group, folding.rank_at(partner), partials, given, other, kept.count, operation);
        if (partner < place) {
          partials.combine(other, partials.at(kept.begin), kept.begin, kept.count);
        } else {
          partials.combine(partials.at(kept.begin), other, kept.begin, kept.count);
        }
      }
      // Doubling: the same pairs in the opposite order give each other what they have.
      for (std::size_t distance = 1; distance < folding.places(); distance *= 2) {
        const std::size_t partner = place ^ distance;
        const Range have = range_of(parts, place / distance * distance, distance);
        const Range get = range_of(parts, partner / distance * distance, distance);
        exchange(group, folding.rank_at(partner), partials, have, partials.at(get.begin), get.count,
                 operation);
      }
    }
    folding.unfold(group, partials, operation);
  });
}

}  // namespace desta::runtime
