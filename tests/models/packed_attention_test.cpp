#include "models/packed_attention.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "model_fixtures.h"
#include "models/attention.h"
#include "models/torch_util.h"

namespace desta::models {
namespace {

constexpr std::int64_t kHeads = 6;
constexpr std::int64_t kKvHeads = 2;
constexpr std::int64_t kHeadDim = 12;

Tensor random(at::IntArrayRef shape, std::uint64_t seed) {
  return at::randn(shape, make_generator(seed), at::kFloat);
}

// One sequence after the other in LibTorch's own operations, in float64.
Tensor composed(const Tensor& q, const Tensor& k, const Tensor& v, const Packing& packing,
                const SharedKeys& shared) {
  std::vector<Tensor> rows;
  std::int64_t begin = 0;
  for (const auto length : packing.lengths()) {
    const auto part = [&](const Tensor& x) { return x.narrow(2, begin, length).to(at::kDouble); };
    const auto whole = [&](const Tensor& x, const Tensor& front) {
      return front.defined() ? at::cat({front.unsqueeze(0).to(at::kDouble), part(x)}, 2) : part(x);
    };
    const auto keys = shared.length() + length;
    const Tensor bias = causal_bias(keys, at::kCPU).narrow(2, shared.length(), length);
    rows.push_back(attention(part(q), whole(k, shared.keys), whole(v, shared.values), bias));
    begin += length;
  }
  return at::cat(rows, 1);
}

struct Case {
  std::string name;
  at::ScalarType type;
  bool shared;
  double tolerance;
};

class PackedAttentionOf : public testing::TestWithParam<Case> {
 protected:
  [[nodiscard]] Tensor leaf(std::int64_t heads, std::uint64_t seed) const {
    return random({1, heads, packing_.total(), kHeadDim}, seed).to(GetParam().type).requires_grad_();
  }

  const Packing packing_{{5, 1, 0, 19, 2}};
};

TEST_P(PackedAttentionOf, EverySequenceIsAsAlone) {
  SharedKeys shared;
  if (GetParam().shared) {
    shared = {random({kKvHeads, 3, kHeadDim}, 5).to(GetParam().type),
              random({kKvHeads, 3, kHeadDim}, 6).to(GetParam().type)};
  }
  const Tensor q = leaf(kHeads, 1);
  const Tensor k = leaf(kKvHeads, 2);
  const Tensor v = leaf(kKvHeads, 3);
  const Tensor out = packed_attention(q, k, v, packing_, shared);
  const Tensor expected = composed(q, k, v, packing_, shared);
  EXPECT_EQ(out.scalar_type(), GetParam().type);
  EXPECT_LT(largest_difference(out, expected), GetParam().tolerance);
  const Tensor direction = random(out.sizes(), 4).to(at::kDouble);
  const auto gradients = [&](const Tensor& of) {
    return torch::autograd::grad({(of.to(at::kDouble) * direction).sum()}, {q, k, v});
  };
  const auto got = gradients(out);
  const auto want = gradients(expected);
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(largest_difference(got[i], want[i]), 4 * GetParam().tolerance) << i;
  }
}

// What split_heads() gives is a view with strides of its own.
TEST_P(PackedAttentionOf, StridesDoNotMatter) {
  const Tensor v = leaf(kKvHeads, 3);
  const Tensor strided = v.detach().permute({0, 2, 1, 3}).contiguous().permute({0, 2, 1, 3});
  ASSERT_FALSE(strided.is_contiguous());
  const Tensor q = leaf(kHeads, 1);
  const Tensor k = leaf(kKvHeads, 2);
  EXPECT_TRUE(at::equal(packed_attention(q, k, v, packing_), packed_attention(q, k, strided, packing_)));
}

INSTANTIATE_TEST_SUITE_P(All, PackedAttentionOf,
                         testing::Values(Case{"Float32", at::kFloat, false, 1e-5},
                                         Case{"Float32Shared", at::kFloat, true, 1e-5},
                                         Case{"Float64", at::kDouble, false, 1e-12},
                                         Case{"Float64Shared", at::kDouble, true, 1e-12},
                                         Case{"BFloat16", at::kBFloat16, false, 2e-2},
                                         Case{"BFloat16Shared", at::kBFloat16, true, 2e-2}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace desta::models
