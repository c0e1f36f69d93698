#include "models/kv_cache.h"

#include <gtest/gtest.h>

#include <limits>

#include "runtime/core/error.h"

namespace desta::models {
namespace {

TEST(KvCache, HidesWhatComesLater) {
  KvCache cache(1, 2, 1, 8, 2, at::kFloat);
  cache.advance(3);
  const float no = -std::numeric_limits<float>::infinity();
  // Two new tokens, at positions 3 and 4.
  EXPECT_TRUE(at::equal(cache.new_positions(2), at::tensor({3, 4}, at::kLong).view({1, 2})));
  const at::Tensor expected =
      at::tensor({0.F, 0.F, 0.F, 0.F, no, 0.F, 0.F, 0.F, 0.F, 0.F}).view({1, 1, 2, 5});
  EXPECT_TRUE(at::equal(cache.attention_bias(2), expected));
}

TEST(KvCache, GivesBackWhatItWasGiven) {
  KvCache cache(1, 2, 1, 8, 2, at::kFloat);
  const at::Tensor first = at::rand({2, 1, 3, 2});
  const at::Tensor second = at::rand({2, 1, 1, 2});
  (void)cache.append(0, first, first * 2);
  cache.advance(3);
  const auto [keys, values] = cache.append(0, second, second * 2);
  EXPECT_TRUE(at::equal(keys, at::cat({first, second}, 2)));
  EXPECT_TRUE(at::equal(values, keys * 2));
}

TEST(KvCache, SaysSoWhenItIsFull) {
  KvCache cache(1, 1, 1, 4, 2, at::kFloat);
  cache.advance(3);
  const at::Tensor two = at::zeros({1, 1, 2, 2});
  EXPECT_THROW(cache.append(0, two, two), runtime::InternalError);
}

}  // namespace
}  // namespace desta::models
