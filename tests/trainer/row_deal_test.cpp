#include "trainer/row_deal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace desta::trainer {
namespace {

// Lengths as of texts: many short ones, a few that are long.
std::vector<std::int64_t> ragged(std::size_t rows, std::uint64_t seed) {
  runtime::Random random(seed);
  std::vector<std::int64_t> lengths(rows);
  for (auto& length : lengths) {
    length = 20 + static_cast<std::int64_t>(random.below(60));
    if (random.below(5) == 0) {
      length *= 3;
    }
  }
  return lengths;
}

void expect_every_row_once(const RowDeal& deal, std::size_t rows, std::size_t size) {
  std::vector<std::size_t> seen;
  for (const auto& part : deal) {
    EXPECT_EQ(part.size(), size);
    EXPECT_TRUE(std::ranges::is_sorted(part)) << "rows keep their order";
    seen.insert(seen.end(), part.begin(), part.end());
  }
  std::ranges::sort(seen);
  std::vector<std::size_t> all(rows);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(seen, all);
}

TEST(RowDeal, InOrderIsTheRowsInTheirOrder) {
  EXPECT_EQ(deal_in_order(6, 2), (RowDeal{{0, 1}, {2, 3}, {4, 5}}));
  EXPECT_EQ(deal_in_order(0, 2), RowDeal());
  EXPECT_THROW((void)deal_in_order(5, 2), runtime::InternalError);
  EXPECT_THROW((void)deal_in_order(4, 0), runtime::InternalError);
}

TEST(RowDeal, TheLongestGoesFirstAndEachToTheShortestThatHasRoom) {
  // 9 to the first, 8 to the second, 5 beside the 8 (the first is longer), which is full; 4 beside the 9.
  EXPECT_EQ(deal_by_length(std::vector<std::int64_t>{9, 8, 4, 5}, 2), (RowDeal{{0, 2}, {1, 3}}));
  // 2 goes beside the 5, and the 1 to the 10, for the other has no room.
  EXPECT_EQ(deal_by_length(std::vector<std::int64_t>{10, 5, 2, 1}, 2), (RowDeal{{0, 3}, {1, 2}}));
}

TEST(RowDeal, OfEqualsTheFirstAndNothingMovesForNothing) {
  EXPECT_EQ(deal_by_length(std::vector<std::int64_t>(8, 7), 2), deal_in_order(8, 2));
  EXPECT_EQ(deal_by_length(std::vector<std::int64_t>{3, 3, 1, 1}, 2), (RowDeal{{0, 2}, {1, 3}}));
  // Both in order and by length the longest has 12.
  EXPECT_EQ(deal_by_length(std::vector<std::int64_t>{6, 6, 6, 5}, 2), deal_in_order(4, 2));
}

TEST(RowDeal, EveryRowOnceAndNeverLongerThanInOrder) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    for (const std::size_t size : {1, 2, 3, 8, 24}) {
      const auto lengths = ragged(24, seed);
      const RowDeal deal = deal_by_length(lengths, size);
      expect_every_row_once(deal, 24, size);
      EXPECT_LE(longest(deal, lengths), longest(deal_in_order(24, size), lengths)) << seed << ", " << size;
      EXPECT_EQ(deal, deal_by_length(lengths, size));
    }
  }
}

// 64 rows in eights: a microbatch has some 560 tokens, one row up to 237 of them. A greedy deal's longest is beyond
// the mean by no more than the last row that it was given, which is a short one.
TEST(RowDeal, RaggedRowsAreEvenWithinAFewTokens) {
  double in_order = 0;
  double by_length = 0;
  constexpr int kSeeds = 100;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto lengths = ragged(64, seed);
    const double mean = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})) / 8;
    const auto beyond = [&](const RowDeal& deal) { return static_cast<double>(longest(deal, lengths)) / mean - 1; };
    const double dealt = beyond(deal_by_length(lengths, 8));
    EXPECT_LT(dealt, 0.1) << seed;
    by_length += dealt / kSeeds;
    in_order += beyond(deal_in_order(64, 8)) / kSeeds;
  }
  EXPECT_LT(by_length, 0.03);
  EXPECT_GT(in_order, 0.2) << "the example is ragged";
}

}  // namespace
}  // namespace desta::trainer
