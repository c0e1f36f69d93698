// How a step's rows are dealt out to its microbatches so that none is much longer than the others: stages
// wait for the longest, and replicas for each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace desta::trainer {

// Rows, given by their numbers in the step, of each microbatch, ascending.
using RowDeal = std::vector<std::vector<std::size_t>>;

// `size` rows a microbatch, in their order. The number of rows is a multiple of `size`.
[[nodiscard]] RowDeal deal_in_order(std::size_t rows, std::size_t size);
// The same numbers of rows, dealt by their lengths: the longest first, each to the microbatch that is shortest
// so far and has room (longest processing time first: Graham, Bounds on multiprocessing timing anomalies,
// 1969); of equals the first. Where the longest microbatch is no shorter for it, the deal in order. The same
// lengths give the same deal anywhere.
[[nodiscard]] RowDeal deal_by_length(std::span<const std::int64_t> lengths, std::size_t size);
// Length of the longest microbatch.
[[nodiscard]] std::int64_t longest(const RowDeal& deal, std::span<const std::int64_t> lengths);

}  // namespace desta::trainer
