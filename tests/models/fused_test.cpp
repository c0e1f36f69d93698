#include "models/fused.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "model_fixtures.h"
#include "models/torch_util.h"
#include "runtime/core/error.h"

namespace desta::models {
namespace {

constexpr double kEps = 1e-5;

Tensor random(at::IntArrayRef shape, std::uint64_t seed) {
  return at::randn(shape, make_generator(seed), at::kFloat);
}

// The same arithmetic in LibTorch's own operations, in float64.
Tensor composed_norm(const Tensor& x, const Tensor& weight) {
  const Tensor wide = x.to(at::kDouble);
  return wide * at::rsqrt(at::mean(wide * wide, {-1}, true) + kEps) * weight.to(at::kDouble);
}

Tensor composed_layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::layer_norm(x.to(at::kDouble), {x.size(-1)}, weight.to(at::kDouble),
                        bias.to(at::kDouble), kEps);
}

Tensor composed_rotation(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const Tensor wide = x.to(at::kDouble);
  const auto half = x.size(-1) / 2;
  const Tensor turned = at::cat({-wide.narrow(-1, half, half), wide.narrow(-1, 0, half)}, -1);
  return wide * cos.to(at::kDouble) + turned * sin.to(at::kDouble);
}

// Gradients of sum(out * direction) with respect to `inputs`.
std::vector<Tensor> gradients(const Tensor& out, const Tensor& direction,
                              const std::vector<Tensor>& inputs) {
  return torch::autograd::grad({(out.to(at::kDouble) * direction).sum()}, inputs);
}

struct Precision {
  at::ScalarType type;
  double tolerance;  // of values of order one to four
};

class Fused : public testing::TestWithParam<Precision> {
 protected:
  [[nodiscard]] Tensor leaf(at::IntArrayRef shape, std::uint64_t seed) const {
    return random(shape, seed).to(GetParam().type).requires_grad_(true);
  }
};

TEST_P(Fused, NormAndItsGradientsAreThoseOfTheComposedOperations) {
  const Tensor x = leaf({3, 5, 33}, 1);  // an odd width leaves a rest behind the vector loop
  const Tensor weight = leaf({33}, 2);
  const Tensor direction = random({3, 5, 33}, 3).to(at::kDouble);
  const Tensor out = rms_norm(x, weight, kEps);
  const Tensor expected = composed_norm(x, weight);
  EXPECT_EQ(out.scalar_type(), GetParam().type);
  EXPECT_LT(largest_difference(out, expected), GetParam().tolerance);
  const auto got = gradients(out, direction, {x, weight});
  const auto want = gradients(expected, direction, {x, weight});
  EXPECT_LT(largest_difference(got[0], want[0]), GetParam().tolerance);
  EXPECT_LT(largest_difference(got[1], want[1]), 4 * GetParam().tolerance);  // a sum over 15 rows
}

TEST_P(Fused, GateAndItsGradientsAreThoseOfTheComposedOperations) {
  const Tensor gate = leaf({7, 37}, 31);
  const Tensor up = leaf({7, 37}, 32);
  const Tensor direction = random({7, 37}, 33).to(at::kDouble);
  const Tensor out = swiglu(gate * 8, up);  // far into both tails
  const Tensor wide = gate.to(at::kDouble) * 8;
  const Tensor expected = at::silu(wide) * up.to(at::kDouble);
  EXPECT_EQ(out.scalar_type(), GetParam().type);
  EXPECT_LT(largest_difference(out, expected), 16 * GetParam().tolerance);
  const auto got = gradients(out, direction, {gate, up});
  const auto want = gradients(expected, direction, {gate, up});
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(largest_difference(got[i], want[i]), 32 * GetParam().tolerance) << i;
  }
}

TEST_P(Fused, LayerNormAndItsGradientsAreThoseOfLibTorch) {
  const Tensor x = leaf({3, 5, 33}, 21);
  const Tensor weight = leaf({33}, 22);
  const Tensor bias = leaf({33}, 23);
  const Tensor direction = random({3, 5, 33}, 24).to(at::kDouble);
  const Tensor shifted = x + 3.0;  // the mean is not small beside the deviation
  const Tensor out = layer_norm(shifted, weight, bias, kEps);
  const Tensor expected = composed_layer_norm(shifted, weight, bias);
  EXPECT_EQ(out.scalar_type(), GetParam().type);
  EXPECT_LT(largest_difference(out, expected), GetParam().tolerance);
  const auto got = gradients(out, direction, {x, weight, bias});
  const auto want = gradients(expected, direction, {x, weight, bias});
  EXPECT_LT(largest_difference(got[0], want[0]), GetParam().tolerance);
  EXPECT_LT(largest_difference(got[1], want[1]), 4 * GetParam().tolerance);  // sums over 15 rows
  EXPECT_LT(largest_difference(got[2], want[2]), 4 * GetParam().tolerance);
  const auto transposed = x.transpose(0, 1);
  EXPECT_TRUE(same_bits(layer_norm(transposed, weight, bias, kEps),
                        layer_norm(transposed.contiguous(), weight, bias, kEps)));
}

TEST_P(Fused, AWeightOfAnotherSizeIsRefused) {
  const Tensor x = leaf({2, 8}, 31);
  const Tensor weight = leaf({7}, 32);
  EXPECT_THROW(static_cast<void>(rms_norm(x, weight, kEps)), runtime::InternalError);
  EXPECT_THROW(static_cast<void>(layer_norm(x, weight, weight, kEps)), runtime::InternalError);
}

TEST_P(Fused, NormReadsAnyLayout) {
  const Tensor x = leaf({4, 6, 8}, 4);
  const Tensor weight = leaf({8}, 5);
  const Tensor turned = x.transpose(0, 1);
  EXPECT_TRUE(
      same_bits(rms_norm(turned, weight, kEps), rms_norm(turned.contiguous(), weight, kEps)));
}

TEST_P(Fused, RotationAndItsGradientAreThoseOfTheComposedOperations) {
  // As attention makes it: heads split from [batch, time, heads * head_dim] by a view.
  const Tensor flat = leaf({2, 7, 3 * 10}, 6);
  const Tensor x = flat.view({2, 7, 3, 10}).transpose(1, 2);
  for (const std::int64_t batch : {1, 2}) {
    const Tensor angles = random({batch, 1, 7, 5}, 7).repeat({1, 1, 1, 2});
    const Tensor cos = angles.cos().to(GetParam().type);
    const Tensor sin = angles.sin().to(GetParam().type);
    const Tensor direction = random({2, 3, 7, 10}, 8).to(at::kDouble);
    const Tensor out = rotate(x, cos, sin);
    const Tensor expected = composed_rotation(x, cos, sin);
    EXPECT_EQ(out.scalar_type(), GetParam().type);
    EXPECT_LT(largest_difference(out, expected), GetParam().tolerance);
    EXPECT_LT(largest_difference(gradients(out, direction, {flat})[0],
                                 gradients(expected, direction, {flat})[0]),
              GetParam().tolerance);
  }
}

TEST_P(Fused, AcceptsAGradientThatIsOneNumberRepeated) {
  const Tensor x = leaf({1, 2, 3, 4}, 9);
  const Tensor one = at::ones({1, 1, 3, 4}).to(GetParam().type);
  const Tensor weight = leaf({4}, 10);
  // The gradient of a sum is an expanded scalar: all its strides are zero.
  const Tensor turned = torch::autograd::grad({rotate(x, one, one).sum()}, {x})[0];
  // d/da (a - b) + (b + a) = 2; d/db = -1 + 1 = 0.
  EXPECT_TRUE(at::equal(turned.narrow(-1, 0, 2), at::full({1, 2, 3, 2}, 2.0, x.options())));
  EXPECT_TRUE(at::equal(turned.narrow(-1, 2, 2), at::zeros({1, 2, 3, 2}, x.options())));
  const Tensor normed = torch::autograd::grad({rms_norm(x, weight, kEps).sum()}, {x})[0];
  const Tensor want = torch::autograd::grad({composed_norm(x, weight).sum()}, {x})[0];
  EXPECT_LT(largest_difference(normed, want), GetParam().tolerance);
}

TEST_P(Fused, GivesNoGradientToAFrozenWeight) {
  const Tensor x = leaf({2, 8}, 11);
  const Tensor weight = at::ones({8}).to(GetParam().type);
  const Tensor bias = at::zeros({8}).to(GetParam().type);
  (rms_norm(x, weight, kEps) + layer_norm(x, weight, bias, kEps)).sum().backward();
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
  EXPECT_FALSE(bias.grad().defined());
}

INSTANTIATE_TEST_SUITE_P(Precisions, Fused,
                         testing::Values(Precision{at::kFloat, 4e-6},
                                         Precision{at::kBFloat16, 4e-2}),
                         [](const auto& info) { return c10::toString(info.param.type); });

TEST(FusedFloat32, GradientsAreThoseOfFiniteDifferences) {
  const Tensor x = random({2, 12}, 20).requires_grad_(true);
  const Tensor weight = random({12}, 21);
  const Tensor direction = random({2, 12}, 22).to(at::kDouble);
  const auto value = [&](const Tensor& at_x) {
    return (rms_norm(at_x, weight, kEps).to(at::kDouble) * direction).sum().item<double>();
  };
  const Tensor gradient = gradients(rms_norm(x, weight, kEps), direction, {x})[0];
  constexpr float kStep = 1e-2F;
  for (std::int64_t i = 0; i < 12; ++i) {
    Tensor up = x.detach().clone();
    Tensor down = x.detach().clone();
    up[1][i] += kStep;
    down[1][i] -= kStep;
    EXPECT_NEAR(gradient[1][i].item<double>(), (value(up) - value(down)) / (2 * kStep), 2e-3);
  }
}

}  // namespace
}  // namespace desta::models
