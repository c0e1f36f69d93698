#include "models/page_pool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <vector>

#include "runtime/core/error.h"

namespace desta::models {
namespace {

// Keys from, from + 1, ...
std::vector<PositionKey> keys(PositionKey from, std::size_t count) {
  std::vector<PositionKey> made(count);
  std::iota(made.begin(), made.end(), from);
  return made;
}

std::vector<PositionKey> joined(std::vector<PositionKey> a, const std::vector<PositionKey>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<PageId> take(PagePool& pool, int count) {
  std::vector<PageId> pages;
  for (int i = 0; i < count; ++i) {
    pages.push_back(pool.take().value());
  }
  return pages;
}

void release(PagePool& pool, const std::vector<PageId>& pages) {
  for (const auto page : pages) {
    pool.release(page);
  }
}

TEST(PagePool, GivesEachPageOnceAndNoMoreThanItHas) {
  PagePool pool(3);
  const auto pages = take(pool, 3);
  EXPECT_EQ(std::set(pages.begin(), pages.end()).size(), 3U);
  EXPECT_FALSE(pool.take().has_value());
  pool.hold(pages[1]);
  pool.release(pages[1]);
  EXPECT_FALSE(pool.take().has_value()) << "it had two holders";
  pool.release(pages[1]);
  EXPECT_EQ(pool.take(), pages[1]);
  release(pool, pages);
  EXPECT_EQ(pool.available(), 3);
  EXPECT_THROW(pool.release(pages[0]), runtime::InternalError);
}

TEST(PagePool, FindsTheLongestBeginning) {
  PagePool pool(8);
  const auto first = joined(keys(0, 32), keys(100, 10));
  const auto pages = take(pool, 3);
  pool.keep(first, pages);
  EXPECT_TRUE(pool.find(keys(500, 40)).pages.empty());
  // 32 positions in two pages, and 4 of the third.
  const auto found = pool.find(joined(keys(0, 32), joined(keys(100, 4), keys(700, 20))));
  EXPECT_EQ(found.pages, (std::vector<PageId>{pages[0], pages[1]}));
  EXPECT_EQ(found.partial, pages[2]);
  EXPECT_EQ(found.positions(), 36);
  // It parts within the second page.
  const auto parts = pool.find(joined(keys(0, 20), keys(900, 30)));
  EXPECT_EQ(parts.pages, (std::vector<PageId>{pages[0]}));
  EXPECT_EQ(parts.partial, pages[1]);
  EXPECT_EQ(parts.positions(), 20);
  // The same page content behind another beginning is something else.
  EXPECT_EQ(pool.find(keys(16, 16)).positions(), 0);
}

TEST(PagePool, KeepsBeginningsUntilTheRoomIsNeeded) {
  PagePool pool(4);
  const auto old = take(pool, 2);
  pool.keep(keys(0, 32), old);
  const auto later = take(pool, 1);
  pool.keep(keys(1000, 16), later);
  release(pool, old);
  release(pool, later);
  EXPECT_EQ(pool.available(), 4);
  EXPECT_EQ(pool.find(keys(0, 32)).positions(), 32);  // so it was asked for last
  (void)take(pool, 1);                                // the free one
  EXPECT_EQ(pool.find(keys(1000, 16)).positions(), 16);
  (void)pool.find(keys(0, 32));
  EXPECT_EQ(pool.take(), later[0]) << "what was asked for longest ago goes first";
  EXPECT_EQ(pool.find(keys(1000, 16)).positions(), 0);
  EXPECT_EQ(pool.take(), old[1]) << "the end of a beginning goes before its start";
  EXPECT_EQ(pool.find(keys(0, 32)).positions(), 16);
  EXPECT_EQ(pool.available(), 1);
}

TEST(PagePool, NeverTakesAPageThatSomebodyHolds) {
  PagePool pool(3);
  const auto pages = take(pool, 3);
  pool.keep(keys(0, 48), pages);
  pool.release(pages[0]);  // the others go on from it
  EXPECT_EQ(pool.available(), 1);
  EXPECT_EQ(pool.take(), pages[0]);
  EXPECT_FALSE(pool.take().has_value());
  EXPECT_EQ(pool.find(keys(0, 48)).positions(), 0) << "without its start it is no beginning";
  release(pool, pages);
  EXPECT_EQ(pool.available(), 3);
}

}  // namespace
}  // namespace desta::models
