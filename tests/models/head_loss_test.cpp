#include "models/head_loss.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "model_fixtures.h"
#include "models/torch_util.h"
#include "runtime/core/error.h"

namespace desta::models {
namespace {

constexpr double kScale = 0.25;

Tensor random(at::IntArrayRef shape, std::uint64_t seed) {
  return at::randn(shape, make_generator(seed), at::kFloat);
}

struct Case {
  std::string name;
  at::ScalarType type;
  std::int64_t rows;
  std::int64_t vocabulary;
  double tolerance;
};

class HeadLossOf : public testing::TestWithParam<Case> {
 protected:
  HeadLossOf()
      : hidden_(random({GetParam().rows, 24}, 1).to(GetParam().type).requires_grad_()),
        head_(random({GetParam().vocabulary, 24}, 2).to(GetParam().type)),
        targets_(at::randint(GetParam().vocabulary, {GetParam().rows}, make_generator(3), at::kLong)) {}

  Tensor hidden_, head_, targets_;
};

TEST_P(HeadLossOf, LossGradientAndRightTokensAreThoseOfAllLogits) {
  const HeadLoss loss = head_loss(hidden_, head_, targets_, kScale);
  const Tensor logits = at::linear(hidden_.to(at::kDouble), head_.to(at::kDouble));
  const Tensor expected = at::cross_entropy_loss(logits, targets_, {}, at::Reduction::Sum) * kScale;
  const auto tokens = static_cast<double>(GetParam().rows);
  EXPECT_NEAR(loss.sum.item<double>() / tokens, expected.item<double>() / tokens, GetParam().tolerance);
  EXPECT_NEAR(static_cast<double>(loss.right),
              logits.argmax(1).eq(targets_).sum().item<double>(), GetParam().type == at::kFloat ? 0 : 2);
  const auto got = torch::autograd::grad({loss.sum * 3.0}, {hidden_});
  const auto want = torch::autograd::grad({expected * 3.0}, {hidden_});
  EXPECT_LT(largest_difference(got[0], want[0]), 4 * GetParam().tolerance);
}

TEST_P(HeadLossOf, IsTheSameWithoutABackwardPass) {
  const at::NoGradGuard no_grad;
  const HeadLoss loss = head_loss(hidden_, head_, targets_, kScale);
  const at::AutoGradMode gradients(true);
  EXPECT_EQ(loss.sum.item<float>(), head_loss(hidden_, head_, targets_, kScale).sum.item<float>());
}

// 16 Mi logits are one chunk: the last case has three.
INSTANTIATE_TEST_SUITE_P(All, HeadLossOf,
                         testing::Values(Case{"Float32", at::kFloat, 13, 101, 1e-5},
                                         Case{"BFloat16", at::kBFloat16, 13, 101, 3e-2},
                                         Case{"OneRow", at::kFloat, 1, 7, 1e-5},
                                         Case{"Chunks", at::kFloat, 300, 128'256, 3e-5}),
                         [](const auto& info) { return info.param.name; });

TEST(HeadLossTest, ATargetOutsideTheVocabularyIsAnError) {
  for (const std::int64_t target : {-1, 5}) {
    EXPECT_THROW((void)head_loss(at::zeros({1, 8}), at::zeros({5, 8}), at::full({1}, target, at::kLong), 1),
                 runtime::InternalError);
  }
}

TEST(HeadLossTest, NoTokensCostNothing) {
  const Tensor hidden = at::zeros({0, 8}).requires_grad_();
  const HeadLoss loss = head_loss(hidden, at::zeros({5, 8}), at::zeros({0}, at::kLong), 1);
  EXPECT_EQ(loss.sum.item<float>(), 0);
  EXPECT_EQ(torch::autograd::grad({loss.sum}, {hidden})[0].numel(), 0);
}

TEST(HeadLossTest, WhatIsNotFiniteIsNotHidden) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const Tensor hidden = at::ones({2, 3});
    hidden[1][0] = bad;
    const HeadLoss loss = head_loss(hidden, at::ones({5, 3}), at::zeros({2}, at::kLong), 1);
    EXPECT_FALSE(std::isfinite(loss.sum.item<float>())) << bad;
  }
}

}  // namespace
}  // namespace desta::models
