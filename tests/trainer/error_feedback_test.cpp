#include "trainer/error_feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace desta::trainer {
namespace {

using at::Tensor;

TEST(ErrorFeedback, RoundsAsLibTorchDoesAndKeepsTheRest) {
  const Tensor gradient = at::randn({1037}) * at::pow(10.0, at::randn({1037}) * 4);
  Tensor error = at::randn({1037});
  const Tensor sum = gradient + error;
  Tensor wire = at::empty({1037}, at::kBFloat16);
  round_with_feedback(gradient, error, wire);
  EXPECT_TRUE(at::equal(wire, sum.to(at::kBFloat16)));
  EXPECT_TRUE(at::equal(error, sum - wire.to(at::kFloat)));
}

// What is too small for the format in one step arrives in the course of many.
TEST(ErrorFeedback, LosesNothingOverManySteps) {
  const Tensor gradient = at::full({100}, 1.0 + 1.0 / 1024);
  Tensor error = at::zeros({100});
  Tensor wire = at::empty({100}, at::kBFloat16);
  Tensor arrived = at::zeros({100}, at::kDouble);
  for (int step = 0; step < 1000; ++step) {
    round_with_feedback(gradient, error, wire);
    arrived.add_(wire.to(at::kDouble));
  }
  const Tensor due = gradient.to(at::kDouble) * 1000;
  EXPECT_LT((arrived + error - due).abs().max().item<double>(), 1e-4);
  EXPECT_LT((arrived - due).abs().max().item<double>(), 0.01) << "one rounding's worth";
  EXPECT_GT((due - 1000).abs().min().item<double>(), 0.9) << "without it, all of this is lost";
}

TEST(ErrorFeedback, CarriesWhatIsNotFinite) {
  const float infinite = std::numeric_limits<float>::infinity();
  const Tensor gradient = at::tensor({std::nanf(""), infinite, -infinite, 3.4e38F});
  Tensor error = at::zeros({4});
  Tensor wire = at::empty({4}, at::kBFloat16);
  round_with_feedback(gradient, error, wire);
  EXPECT_TRUE(std::isnan(wire[0].item<float>()));
  EXPECT_EQ(wire[1].item<float>(), infinite);
  EXPECT_EQ(wire[2].item<float>(), -infinite);
  EXPECT_EQ(wire[3].item<float>(), infinite) << "rounds beyond the largest";
}

}  // namespace
}  // namespace desta::trainer
