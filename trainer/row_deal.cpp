#include "trainer/row_deal.h"

#include <algorithm>
#include <numeric>

#include "runtime/core/error.h"

namespace desta::trainer {

RowDeal deal_in_order(std::size_t rows, std::size_t size) {
  if (size == 0 || rows % size != 0) {
    throw runtime::InternalError("{} rows in microbatches of {}", rows, size);
  }
  RowDeal deal(rows / size);
  for (std::size_t row = 0; row < rows; ++row) {
    deal[row / size].push_back(row);
  }
  return deal;
}

RowDeal deal_by_length(std::span<const std::int64_t> lengths, std::size_t size) {
  RowDeal in_order = deal_in_order(lengths.size(), size);
  std::vector<std::size_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::ranges::stable_sort(longest_first, [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  RowDeal deal(in_order.size());
  std::vector<std::int64_t> total(deal.size(), 0);
  for (const auto row : longest_first) {
    std::size_t shortest = deal.size();
    for (std::size_t m = 0; m < deal.size(); ++m) {
      if (deal[m].size() < size && (shortest == deal.size() || total[m] < total[shortest])) {
        shortest = m;
      }
    }
    deal[shortest].push_back(row);
    total[shortest] += lengths[row];
  }
  for (auto& rows : deal) {
    std::ranges::sort(rows);
  }
  return longest(deal, lengths) < longest(in_order, lengths) ? deal : in_order;
}

std::int64_t longest(const RowDeal& deal, std::span<const std::int64_t> lengths) {
  std::int64_t result = 0;
  for (const auto& rows : deal) {
    std::int64_t total = 0;
    for (const auto row : rows) {
      total += lengths[row];
    }
    result = std::max(result, total);
  }
  return result;
}

}  // namespace desta::trainer
