#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/folding.h"
#include "runtime/collectives/partial_sums.h"

namespace desta::runtime {

void recursive_doubling_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                                   const Operation& operation) {
  with_partials(vectors, scratch, [&](const Partials& partials) {
    const Folding folding(group);
    const std::size_t bytes = partials.count * partials.width();
    std::byte* const other = scratch.messages.take(bytes);
    folding.fold(group, partials, other, operation);
    for (std::size_t distance = 1; !folding.is_aside() && distance < folding.places();
         distance *= 2) {
      const std::size_t partner = folding.place() ^ distance;
      Transfers exchange(group, operation);
      exchange.receive(folding.rank_at(partner), other, bytes);
      exchange.send(folding.rank_at(partner), partials.data, bytes);
      exchange.wait();
      if (partner < folding.place()) {
        partials.combine(other, partials.data, 0, partials.count);
      } else {
        partials.combine(partials.data, other, 0, partials.count);
      }
    }
    folding.unfold(group, partials, operation);
  });
}

}  // namespace desta::runtime
