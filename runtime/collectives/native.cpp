#include <algorithm>

#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/partial_sums.h"

namespace desta::runtime {
namespace {

// MPI counts in int.
constexpr std::size_t kPiece = std::size_t{256} << 20;

}  // namespace

void native_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                       const Operation& operation) {
  with_partials(vectors, scratch, [&](const Partials& partials) {
    const std::size_t piece = kPiece / partials.width();
    for (std::size_t begin = 0; begin < partials.count; begin += piece) {
      const std::size_t length = std::min(piece, partials.count - begin);
      std::byte* const data = partials.at(begin);
      auto transfer =
          group.links().native_all_reduce(data, data, length, partials.dtype, partials.op);
      if (transfer == nullptr) {
        direct_all_reduce(group, {data, data, length, {partials.dtype, partials.op, 1}}, scratch,
                          operation);
        continue;
      }
      Transfers all(group, operation);
      all.add(std::move(transfer), (group.rank() + 1) % group.size());
      all.wait();
    }
  });
}

}  // namespace desta::runtime
