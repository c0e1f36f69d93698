#include "models/sampling.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace desta::models {
namespace {

constexpr int kDraws = 20000;

// How often each token is drawn from logits whose probabilities at temperature 1 are 1/2, 1/4, 1/8,
// 1/8.
std::array<double, 4> frequencies(const SamplingOptions& options) {
  const at::Tensor logits =
      at::tensor({std::log(4.0F), std::log(8.0F), std::log(2.0F), std::log(2.0F)});
  runtime::Random random(7);
  std::array<double, 4> counts{};
  for (int i = 0; i < kDraws; ++i) {
    counts[static_cast<std::size_t>(sample(logits, options, random))] += 1.0 / kDraws;
  }
  return counts;
}

// Four standard deviations of a frequency of about a half.
constexpr double kTolerance = 0.015;

TEST(Sampling, GreedyTakesTheSmallestIdAmongEquals) {
  runtime::Random random(1);
  EXPECT_EQ(sample(at::tensor({1.0F, 3.0F, 3.0F, 2.0F}), {}, random), 1);
}

TEST(Sampling, DrawsByProbabilityAtTemperatureOne) {
  const auto drawn = frequencies({.temperature = 1.0});
  EXPECT_NEAR(drawn[0], 0.25, kTolerance);
  EXPECT_NEAR(drawn[1], 0.5, kTolerance);
  EXPECT_NEAR(drawn[2], 0.125, kTolerance);
  EXPECT_NEAR(drawn[3], 0.125, kTolerance);
}

TEST(Sampling, TemperatureIsAPowerOfTheProbabilities) {
  // Halving the temperature squares them: 4, 16, 1, 1 of 22.
  const auto drawn = frequencies({.temperature = 0.5});
  EXPECT_NEAR(drawn[0], 4.0 / 22, kTolerance);
  EXPECT_NEAR(drawn[1], 16.0 / 22, kTolerance);
  EXPECT_NEAR(drawn[2], 1.0 / 22, kTolerance);
}

TEST(Sampling, TheNucleusIsTheFewestTokensThatReachTopP) {
  // 1/2 + 1/4 reaches 0.7: two tokens stay, in the ratio 2 to 1.
  const auto drawn = frequencies({.temperature = 1.0, .top_p = 0.7});
  EXPECT_NEAR(drawn[1], 2.0 / 3, kTolerance);
  EXPECT_NEAR(drawn[0], 1.0 / 3, kTolerance);
  EXPECT_EQ(drawn[2] + drawn[3], 0.0);
  // A nucleus is never empty.
  EXPECT_NEAR(frequencies({.temperature = 1.0, .top_p = 0.0})[1], 1.0, 1e-9);
}

TEST(Sampling, DependsOnTheSeedAlone) {
  const at::Tensor logits = at::zeros({100});
  const auto draw = [&](std::uint64_t seed) {
    runtime::Random random(seed);
    std::vector<TokenId> tokens;
    for (int i = 0; i < 20; ++i) {
      tokens.push_back(sample(logits, {.temperature = 1.0}, random));
    }
    return tokens;
  };
  EXPECT_EQ(draw(3), draw(3));
  EXPECT_NE(draw(3), draw(4));
}

TEST(Sampling, GreedyDrawsNoRandomNumber) {
  runtime::Random used(5);
  runtime::Random fresh(5);
  (void)sample(at::tensor({1.0F, 2.0F}), {}, used);
  EXPECT_EQ(used.uniform(), fresh.uniform());
}

TEST(Sampling, SurvivesLogitsOfAnySize) {
  runtime::Random random(2);
  const float never = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(sample(at::tensor({never, 1e30F, 3.0F}), {.temperature = 0.7}, random), 1);
}

}  // namespace
}  // namespace desta::models
