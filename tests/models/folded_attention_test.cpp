#include "models/folded_attention.h"

#include <gtest/gtest.h>

#include "model_fixtures.h"
#include "models/attention.h"
#include "models/torch_util.h"

namespace desta::models {
namespace {

constexpr std::int64_t kHeads = 3;
constexpr double kDropout = 0.3;

// One set of inputs, each a leaf that requires gradients; in double, where only an error of arithmetic differs.
struct Inputs {
  Tensor q, states, key_weight, key_bias, value_weight, value_bias;

  explicit Inputs(std::uint64_t seed) {
    at::Generator generator = make_generator(seed);
    const auto leaf = [&](at::IntArrayRef sizes) {
      return at::randn(sizes, generator, at::kDouble).set_requires_grad(true);
    };
    q = leaf({2, 5, 24});
    states = leaf({2, 17, 30});
    key_weight = leaf({24, 30});
    key_bias = leaf({24});
    value_weight = leaf({24, 30});
    value_bias = leaf({24});
  }
  [[nodiscard]] std::vector<Tensor> all() const {
    return {q, states, key_weight, key_bias, value_weight, value_bias};
  }
  [[nodiscard]] Tensor folded(const c10::optional<at::Generator>& generator) const {
    return folded_attention(q, states, {key_weight, key_bias, value_weight, value_bias}, kHeads, kDropout,
                            generator);
  }
  [[nodiscard]] Tensor unfolded(const c10::optional<at::Generator>& generator) const {
    return attention(split_heads(q, kHeads), split_heads(at::linear(states, key_weight, key_bias), kHeads),
                     split_heads(at::linear(states, value_weight, value_bias), kHeads), Tensor(), kDropout,
                     generator);
  }
};

void expect_equal(bool with_dropout) {
  const Inputs folded(1);
  const Inputs unfolded(1);
  const auto generator = [&]() -> c10::optional<at::Generator> {
    return with_dropout ? c10::optional<at::Generator>(make_generator(7)) : c10::nullopt;
  };
  const Tensor one = folded.folded(generator());
  const Tensor other = unfolded.unfolded(generator());
  EXPECT_LT(largest_difference(one, other), 1e-12);
  one.square().sum().backward();
  other.square().sum().backward();
  for (std::size_t i = 0; i < folded.all().size(); ++i) {
    const double size = unfolded.all()[i].grad().abs().max().item<double>();
    EXPECT_LT(largest_difference(folded.all()[i].grad(), unfolded.all()[i].grad()), 1e-12 * (1 + size)) << i;
  }
}

TEST(FoldedAttention, IsAttentionOverKeysAndValuesAndHasItsGradients) { expect_equal(false); }

TEST(FoldedAttention, DropsTheSameWeightsWhenADropHasAnEffectOnTheValuesBias) { expect_equal(true); }

TEST(FoldedAttention, GivesTheKeysBiasAGradientOfZero) {
  const Inputs inputs(2);
  inputs.folded(c10::nullopt).square().sum().backward();
  EXPECT_TRUE(at::equal(inputs.key_bias.grad(), at::zeros({24}, at::kDouble)));
}

TEST(FoldedAttention, PaysForAFewQueries) {
  EXPECT_TRUE(folding_pays(16, 3, 192));
  EXPECT_TRUE(folding_pays(64, 20, 1280)) << "DeSTA2's: as many operations, and neither keys nor values in memory";
  EXPECT_FALSE(folding_pays(65, 20, 1280));
}

}  // namespace
}  // namespace desta::models
