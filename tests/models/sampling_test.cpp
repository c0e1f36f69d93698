#include "models/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <vector>

namespace desta::models {
namespace {

constexpr int kDraws = 20000;

TokenId draw(std::vector<float> logits, const SamplingOptions& options, runtime::Random& random,
             const std::vector<TokenId>& before = {}) {
  return sample(logits, options, random, before);
}

// How often each token is drawn from logits whose probabilities at temperature 1 are 1/2, 1/4, 1/8,
// 1/8.
std::array<double, 4> frequencies(const SamplingOptions& options) {
  const std::vector<float> logits = {std::log(4.0F), std::log(8.0F), std::log(2.0F), std::log(2.0F)};
  runtime::Random random(7);
  std::array<double, 4> counts{};
  for (int i = 0; i < kDraws; ++i) {
    counts[static_cast<std::size_t>(draw(logits, options, random))] += 1.0 / kDraws;
  }
  return counts;
}

// Four standard deviations of a frequency of about a half.
constexpr double kTolerance = 0.015;

TEST(Sampling, GreedyTakesTheSmallestIdAmongEquals) {
  runtime::Random random(1);
  EXPECT_EQ(draw({1.0F, 3.0F, 3.0F, 2.0F}, {}, random), 1);
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

TEST(Sampling, TopKLeavesTheKLikeliest) {
  // 1/2, 1/4 and, of two equals, the smaller id: 4, 2 and 1 of 7.
  const auto drawn = frequencies({.temperature = 1.0, .top_k = 3});
  EXPECT_NEAR(drawn[1], 4.0 / 7, kTolerance);
  EXPECT_NEAR(drawn[0], 2.0 / 7, kTolerance);
  EXPECT_EQ(drawn[3], 0.0);
  // top_p is a share of what top_k has left: 1/2 of 3/4 reaches 0.6.
  EXPECT_NEAR(frequencies({.temperature = 1.0, .top_p = 0.6, .top_k = 2})[1], 1.0, 1e-9);
}

TEST(Sampling, OrdersALargeVocabularyAsAWholeSortWould) {
  std::vector<float> logits(5000);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>((i * 7919) % 997) / 400.0F;
  }
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](TokenId id) { return logits[static_cast<std::size_t>(id)]; });
  double total = 0;
  for (const auto logit : logits) {
    total += std::exp(static_cast<double>(logit));
  }
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    double nucleus = 0;
    std::size_t count = 0;
    while (nucleus < 0.9 * total) {
      nucleus += std::exp(static_cast<double>(logits[static_cast<std::size_t>(order[count++])]));
    }
    double point = runtime::Random(seed).uniform() * nucleus;
    std::size_t at = 0;
    while ((point -= std::exp(static_cast<double>(logits[static_cast<std::size_t>(order[at])]))) >= 0) {
      ++at;
    }
    runtime::Random random(seed);
    EXPECT_EQ(draw(logits, {.temperature = 1.0, .top_p = 0.9}, random), order[at]);
  }
}

TEST(Sampling, PenalisesWhatWasThereBefore) {
  runtime::Random random(1);
  const SamplingOptions halved{.repetition_penalty = 2.0};
  EXPECT_EQ(draw({3.0F, 4.0F, 2.5F}, halved, random, {1}), 0);
  EXPECT_EQ(draw({3.0F, 4.0F, 2.5F}, halved, random, {1, 0, 1, 1}), 2) << "each once";
  EXPECT_EQ(draw({-3.0F, -2.0F}, halved, random, {1}), 0) << "-2 becomes -4";
  EXPECT_EQ(draw({3.0F, 4.0F}, halved, random, {-1, 2, 1000000}), 1) << "none of this vocabulary";
}

TEST(Sampling, DependsOnTheSeedAlone) {
  const std::vector<float> logits(100, 0.0F);
  const auto tokens_of = [&](std::uint64_t seed) {
    runtime::Random random(seed);
    std::vector<TokenId> tokens;
    for (int i = 0; i < 20; ++i) {
      tokens.push_back(draw(logits, {.temperature = 1.0}, random));
    }
    return tokens;
  };
  EXPECT_EQ(tokens_of(3), tokens_of(3));
  EXPECT_NE(tokens_of(3), tokens_of(4));
}

TEST(Sampling, GreedyDrawsNoRandomNumber) {
  runtime::Random used(5);
  runtime::Random fresh(5);
  (void)draw({1.0F, 2.0F}, {}, used);
  EXPECT_EQ(used.uniform(), fresh.uniform());
}

TEST(Sampling, SurvivesLogitsOfAnySize) {
  runtime::Random random(2);
  const float never = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(draw({never, 1e30F, 3.0F}, {.temperature = 0.7}, random), 1);
}

}  // namespace
}  // namespace desta::models
