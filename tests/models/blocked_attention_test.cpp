#include "models/blocked_attention.h"

#include <gtest/gtest.h>

#include "models/attention.h"
#include "models/torch_util.h"

namespace desta::models {
namespace {

using at::Tensor;

Tensor random(at::IntArrayRef shape, std::uint64_t seed) {
  return at::randn(shape, make_generator(seed), at::kFloat);
}

struct Case {
  at::ScalarType type;
  double tolerance;  // of weights that are rounded to the type
};

class BlockedAttention : public testing::TestWithParam<Case> {};

// More queries than fit a block, a number of keys that no vector divides, and strides as split_heads makes them.
TEST_P(BlockedAttention, IsAttentionInBlocks) {
  const auto [type, tolerance] = GetParam();
  constexpr std::int64_t kHeads = 3;
  const Tensor q = split_heads(random({2, 1201, kHeads * 16}, 1).to(type), kHeads);
  const Tensor k = split_heads(random({2, 1013, kHeads * 16}, 2).to(type), kHeads);
  const Tensor v = split_heads(random({2, 1013, kHeads * 16}, 3).to(type), kHeads);
  ASSERT_TRUE(can_block(q, k, v));
  const Tensor found = blocked_attention(q, k, v);
  // In float64 the plain way is taken.
  const Tensor wanted = attention(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), Tensor());
  ASSERT_EQ(found.sizes(), wanted.sizes());
  EXPECT_EQ(found.scalar_type(), type);
  EXPECT_LT((found.to(at::kDouble) - wanted).abs().max().item<double>(), tolerance);
}

TEST_P(BlockedAttention, ARecordingsResultDoesNotDependOnItsNeighbours) {
  const auto type = GetParam().type;
  const Tensor q = random({3, 2, 300, 16}, 4).to(type);
  const Tensor k = random({3, 2, 300, 16}, 5).to(type);
  const Tensor v = random({3, 2, 300, 16}, 6).to(type);
  const Tensor all = blocked_attention(q, k, v);
  const Tensor alone =
      blocked_attention(q.narrow(0, 1, 1), k.narrow(0, 1, 1), v.narrow(0, 1, 1));
  EXPECT_TRUE(at::equal(all.narrow(0, 1, 1), alone));
}

INSTANTIATE_TEST_SUITE_P(Types, BlockedAttention,
                         testing::Values(Case{at::kFloat, 2e-6}, Case{at::kBFloat16, 0.01}),
                         [](const auto& info) { return std::string(c10::toString(info.param.type)); });

TEST(BlockedAttentionUse, WhereAGradientIsAskedForItIsNotTaken) {
  const Tensor q = random({1, 1, 4, 8}, 7).requires_grad_();
  const Tensor k = random({1, 1, 4, 8}, 8);
  EXPECT_FALSE(can_block(q, k, k));
  EXPECT_FALSE(can_block(k, k.to(at::kDouble), k)) << "one type for all";
  EXPECT_FALSE(can_block(random({1, 2, 4, 8}, 9), k, k)) << "grouped queries";
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(can_block(q, k, k));
}

}  // namespace
}  // namespace desta::models
