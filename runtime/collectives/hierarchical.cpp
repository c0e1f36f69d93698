#include "runtime/collectives/hierarchical.h"

namespace desta::runtime {

void hierarchical_all_reduce(const HierarchicalGroups& groups, const Vectors& vectors,
                             FlatScratch& scratch, const Operation& operation) {
  const Arithmetic& arithmetic = vectors.arithmetic;
  const std::size_t width = size_of(arithmetic.dtype);
  const auto shares = Partition::even(vectors.count, groups.leader_count, width);
  const std::size_t own = groups.host.rank();
  auto* const share = static_cast<std::byte*>(vectors.destination) + shares.begin(own) * width;
  // An average is a sum until the last level.
  groups.host.reduce_scatter(vectors.source, share, shares, {arithmetic.dtype, arithmetic.op, 1},
                             operation);
  if (groups.leaders != nullptr && shares.size(own) > 0) {
    all_reduce_with(groups.flat, *groups.leaders, {share, share, shares.size(own), arithmetic},
                    scratch, operation);
  }
  groups.host.all_gather(share, vectors.destination, shares, width, operation);
}

}  // namespace desta::runtime
