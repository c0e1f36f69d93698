#include "trainer/optimizer.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "runtime/core/error.h"
#include "trainer/flat_parameters.h"

namespace desta::trainer {
namespace {

at::Tensor vector(std::vector<double> values) { return at::tensor(values, at::kFloat); }

// Algorithm 2 of Loshchilov and Hutter (2017), one number at a time in double precision.
struct PaperAdamW {
  OptimizerOptions o;
  double theta, m = 0, v = 0;
  int t = 0;
  void step(double g, double eta) {
    ++t;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(o.beta1, t));
    const double v_hat = v / (1 - std::pow(o.beta2, t));
    theta -= eta * (m_hat / (std::sqrt(v_hat) + o.eps) + o.weight_decay * theta);
  }
};

TEST(AdamW, FollowsThePapersFormula) {
  OptimizerOptions options{.weight_decay = 0.1, .clip_norm = 0};
  std::vector<PaperAdamW> paper = {{options, 1.0}, {options, -2.0}, {options, 0.5}};
  at::Tensor values = vector({1.0, -2.0, 0.5});
  AdamW optimizer(options, values);
  const std::vector<std::vector<double>> gradients = {
      {0.3, -4.0, 1e-4}, {-0.2, 5.0, 0.0}, {0.1, 1.0, 2.0}, {7.0, -1.0, -1.0}};
  double rate = 0.05;
  for (const auto& gradient : gradients) {
    at::Tensor flat = vector(gradient);
    EXPECT_FALSE(optimizer.apply(values, flat, rate, at::norm(flat).item<double>()).skipped);
    for (std::size_t i = 0; i < paper.size(); ++i) {
      paper[i].step(gradient[i], rate);
      EXPECT_NEAR(values[static_cast<std::int64_t>(i)].item<double>(), paper[i].theta, 1e-5);
    }
    rate *= 0.7;
  }
  EXPECT_EQ(optimizer.updates(), 4);
}

TEST(AdamW, TheFirstStepMovesByTheLearningRateAgainstTheGradient) {
  at::Tensor values = vector({0, 0, 0});
  at::Tensor gradients = vector({0.001, -5, 0});
  AdamW optimizer({.weight_decay = 0, .clip_norm = 0}, values);
  optimizer.apply(values, gradients, 0.1, at::norm(gradients).item<double>());
  EXPECT_NEAR(values[0].item<double>(), -0.1, 1e-5);
  EXPECT_NEAR(values[1].item<double>(), 0.1, 1e-6);
  EXPECT_EQ(values[2].item<double>(), 0);
}

TEST(AdamW, AGradientThatIsNotFiniteChangesNothing) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity()}) {
    at::Tensor values = vector({1, 2});
    AdamW optimizer({}, values);
    at::Tensor good = vector({1, 1});
    optimizer.apply(values, good, 0.1, at::norm(good).item<double>());
    const at::Tensor before = values.clone();
    const at::Tensor first = optimizer.first_moment().clone();
    const at::Tensor second = optimizer.second_moment().clone();
    at::Tensor gradients = vector({0.5, bad});
    EXPECT_TRUE(optimizer.apply(values, gradients, 0.1, at::norm(gradients).item<double>()).skipped);
    EXPECT_TRUE(at::equal(values, before));
    EXPECT_TRUE(at::equal(optimizer.first_moment(), first));
    EXPECT_TRUE(at::equal(optimizer.second_moment(), second));
    EXPECT_EQ(optimizer.updates(), 1);
  }
}

TEST(AdamW, ClipsTheGradientToTheNorm) {
  at::Tensor values = vector({0, 0});
  AdamW optimizer({.beta1 = 0.9, .clip_norm = 1.0}, values);
  at::Tensor gradients = vector({3, 4});
  const auto update = optimizer.apply(values, gradients, 0.1, at::norm(gradients).item<double>());
  EXPECT_NEAR(update.gradient_norm, 5.0, 1e-6) << "the norm before clipping is reported";
  EXPECT_NEAR(optimizer.first_moment()[0].item<double>(), 0.1 * 0.6, 1e-7);
  EXPECT_NEAR(optimizer.first_moment()[1].item<double>(), 0.1 * 0.8, 1e-7);
}

TEST(AdamW, LeavesASmallGradientUnclipped) {
  at::Tensor values = vector({0, 0});
  AdamW optimizer({.beta1 = 0.9, .clip_norm = 1.0}, values);
  at::Tensor gradients = vector({0.3, 0.4});
  optimizer.apply(values, gradients, 0.1, at::norm(gradients).item<double>());
  EXPECT_NEAR(optimizer.first_moment()[0].item<double>(), 0.03, 1e-8);
}

TEST(LearningRate, RisesInALineThenFallsAsACosineToZero) {
  const OptimizerOptions options{.learning_rate = 2.0, .warmup_steps = 10};
  constexpr std::int64_t kTotal = 110;
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 0, kTotal), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 4, kTotal), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 9, kTotal), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(options, 10, kTotal), 2.0);
  EXPECT_NEAR(learning_rate_at(options, 60, kTotal), 1.0, 1e-12);
  EXPECT_NEAR(learning_rate_at(options, 110, kTotal), 0.0, 1e-12);
  EXPECT_NEAR(learning_rate_at(options, 500, kTotal), 0.0, 1e-12) << "never rises again";
  EXPECT_GT(learning_rate_at(options, 109, kTotal), 0.0);
}

TEST(LearningRate, NeedsNoWarmUp) {
  EXPECT_DOUBLE_EQ(learning_rate_at({.learning_rate = 3.0, .warmup_steps = 0}, 0, 5), 3.0);
}

TEST(LearningRate, StaysFiniteWhenTheRunIsShorterThanTheWarmUp) {
  const OptimizerOptions options{.learning_rate = 1.0, .warmup_steps = 2000};
  for (std::int64_t step = 0; step < 10; ++step) {
    EXPECT_DOUBLE_EQ(learning_rate_at(options, step, 10), static_cast<double>(step + 1) / 2000);
  }
}

TEST(FlatParameters, NamedTensorsAreViewsOfOneVector) {
  FlatParameters parameters({{"b", vector({5, 6})}, {"a", vector({1, 2, 3, 4}).view({2, 2})}});
  ASSERT_EQ(parameters.count(), 6);
  EXPECT_TRUE(at::equal(parameters.values(), vector({1, 2, 3, 4, 5, 6}))) << "in name order";
  {
    const at::NoGradGuard no_grad;
    parameters.values()[4] = 50;
  }
  EXPECT_EQ(parameters.tensors().at("b")[0].item<float>(), 50);
}

TEST(FlatParameters, BackwardAddsIntoOneVector) {
  FlatParameters parameters({{"a", vector({1, 2})}, {"b", vector({3})}});
  const auto& a = parameters.tensors().at("a");
  const auto& b = parameters.tensors().at("b");
  for (int pass = 1; pass <= 2; ++pass) {
    torch::autograd::backward({(a * a).sum() * b.sum()}, {});
    // d/da = 2ab, d/db = a.a, added up over passes.
    EXPECT_TRUE(at::equal(parameters.gradients(), vector({6, 12, 5}) * pass));
  }
  parameters.zero_gradients();
  EXPECT_EQ(parameters.gradients().abs().sum().item<float>(), 0);
  torch::autograd::backward({a.sum()}, {});
  EXPECT_TRUE(at::equal(parameters.gradients(), vector({1, 1, 0}))) << "views survive clearing";
}

TEST(FlatParameters, AMissingOrMisshapenTensorIsAModelErrorWithItsName) {
  FlatParameters parameters({{"a", vector({1, 2})}, {"b", vector({3})}});
  at::Tensor flat = at::zeros({3});
  for (const TensorMap& wrong : {TensorMap{{"a", vector({1, 2})}},
                                 TensorMap{{"a", vector({1, 2})}, {"b", vector({3, 4})}}}) {
    try {
      parameters.assign(flat, wrong);
      FAIL();
    } catch (const runtime::ModelError& error) {
      EXPECT_NE(std::string(error.what()).find("b"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace desta::trainer
