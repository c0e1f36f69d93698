#include "models/qformer.h"

#include <gtest/gtest.h>

#include <set>

#include "model_fixtures.h"
#include "models/torch_util.h"

namespace desta::models {
namespace {

QFormerConfig small_config() {
  return {.d_model = 32,
          .heads = 4,
          .d_llm = 24,
          .taps = {1, 3, 5},
          .queries = 5,
          .layers = 2,
          .ffn = 48};
}

std::int64_t parameters(const QFormerConfig& config) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : initial_qformer(config, 1)) {
    count += tensor.numel();
  }
  return count;
}

std::vector<Tensor> random_taps(std::uint64_t seed, std::int64_t batch = 2) {
  std::vector<Tensor> taps;
  for (std::uint64_t tap = 0; tap < 3; ++tap) {
    taps.push_back(at::randn({batch, 20, 32}, make_generator(seed + tap), at::kFloat));
  }
  return taps;
}

TEST(QFormer, HasThePublishedNumberOfParameters) {
  EXPECT_EQ(parameters({.d_model = 768, .heads = 12, .taps = {2, 5, 8, 11}}), 22'251'776);
  EXPECT_EQ(parameters({.d_model = 1280, .heads = 20, .taps = {7, 15, 23, 31}, .layers = 6}),
            131'540'224);
}

TEST(QFormer, HasThePublishedParameterNames) {
  // Of a torch ParameterList, transformers' BertEncoder and a torch Sequential. The prompts are
  // numbered by tap, not by the Whisper layer that a tap reads.
  std::set<std::string> expected = {"layer_prompts.0", "layer_prompts.1", "layer_prompts.2",
                                    "layer_weights",   "proj.0.weight",   "proj.0.bias",
                                    "proj.1.weight",   "proj.1.bias"};
  for (const std::string layer : {"qformer.layer.0.", "qformer.layer.1."}) {
    for (const std::string name :
         {"attention.self.query", "attention.self.key", "attention.self.value",
          "attention.output.dense", "attention.output.LayerNorm", "crossattention.self.query",
          "crossattention.self.key", "crossattention.self.value", "crossattention.output.dense",
          "crossattention.output.LayerNorm", "intermediate.dense", "output.dense",
          "output.LayerNorm"}) {
      expected.insert(layer + name + ".weight");
      expected.insert(layer + name + ".bias");
    }
  }
  std::set<std::string> names;
  for (const auto& [name, tensor] : initial_qformer(small_config(), 1)) {
    names.insert(name);
  }
  EXPECT_EQ(names, expected);
}

TEST(QFormer, ComputesWhatTheReferenceInNumpyComputes) {
  const TensorMap weights = load_safetensors(fixture("connector") / "adapter.safetensors");
  const TensorMap expected = load_safetensors(fixture("connector") / "expected.safetensors");
  MapSource source(weights);
  const QFormer qformer(small_config(), source);
  const Tensor speech = qformer.forward(expected.at("tapped").unbind(0));
  EXPECT_LT(largest_difference(speech, expected.at("speech")),
            1e-5 * largest(expected.at("speech")));
  // In bfloat16, within its rounding.
  const QFormer half(small_config(), source, at::kBFloat16);
  const Tensor error = half.forward(expected.at("tapped").unbind(0)) - expected.at("speech");
  EXPECT_LT(error.norm().item<double>(), 0.02 * expected.at("speech").norm().item<double>());
}

TEST(QFormer, BeginsWithTheMeanOfItsTaps) {
  // Before the projection the mix is linear in the taps' outputs; with the norm's weight one and
  // bias zero, equal taps and equal prompts must give what one tap alone gives.
  TensorMap three = initial_qformer(small_config(), 2);
  for (const char* name : {"layer_prompts.1", "layer_prompts.2"}) {
    three.at(name) = three.at("layer_prompts.0");
  }
  QFormerConfig single = small_config();
  single.taps = {3};
  TensorMap one = three;
  one.at("layer_weights") = at::zeros({5, 1});
  MapSource three_source(three);
  MapSource one_source(one);
  const Tensor frames = random_taps(5)[0];
  EXPECT_LT(
      largest_difference(QFormer(small_config(), three_source).forward({frames, frames, frames}),
                         QFormer(single, one_source).forward({frames})),
      1e-6);
  // Each tap has a third of the say: the gradient of the weights' softmax at zero sums to zero, and
  // shifting all weights of a query changes nothing.
  TensorMap shifted = initial_qformer(small_config(), 2);
  MapSource plain_source(shifted);
  const Tensor before = QFormer(small_config(), plain_source).forward(random_taps(6));
  shifted.at("layer_weights") = at::full({5, 3}, 4.0);
  MapSource shifted_source(shifted);
  EXPECT_LT(
      largest_difference(before, QFormer(small_config(), shifted_source).forward(random_taps(6))),
      1e-6);
}

TEST(QFormer, ALargeTapWeightChoosesThatTap) {
  TensorMap weights = initial_qformer(small_config(), 3);
  weights.at("layer_weights").select(1, 1).fill_(100.0);
  MapSource source(weights);
  const QFormer qformer(small_config(), source);
  auto taps = random_taps(7);
  const Tensor before = qformer.forward(taps);
  taps[0] = taps[0] + 1.0;
  EXPECT_TRUE(at::equal(qformer.forward(taps), before));
  taps[1] = taps[1] * 2.0;
  EXPECT_GT(largest_difference(qformer.forward(taps), before), 1e-4);
}

TEST(QFormer, EveryQuerySeesEveryOther) {
  TensorMap weights = initial_qformer(small_config(), 4);
  const auto speech = [&] {
    MapSource source(weights);
    return QFormer(small_config(), source).forward(random_taps(8));
  };
  const Tensor before = speech();
  // A change of the last query reaches the first: the attention is not causal.
  weights.at("layer_prompts.0").select(1, 4).mul_(-30.0);
  EXPECT_GT(largest_difference(speech().select(1, 0), before.select(1, 0)), 1e-6);
}

TEST(QFormer, RowsOfABatchDoNotMix) {
  TensorMap weights = initial_qformer(small_config(), 5);
  MapSource source(weights);
  const QFormer qformer(small_config(), source);
  const auto taps = random_taps(9, 3);
  std::vector<Tensor> second;
  for (const auto& tap : taps) {
    second.push_back(tap.narrow(0, 1, 1));
  }
  EXPECT_LT(largest_difference(qformer.forward(taps).narrow(0, 1, 1), qformer.forward(second)),
            1e-5);
}

TEST(QFormer, DropoutDependsOnItsSeedAlone) {
  TensorMap weights = initial_qformer(small_config(), 6);
  MapSource source(weights);
  const QFormer qformer(small_config(), source);
  const auto with_seed = [&](std::uint64_t seed) {
    return qformer.forward(random_taps(10), make_generator(seed));
  };
  const Tensor first = with_seed(1);
  (void)at::randn({100});  // global randomness has no say
  EXPECT_TRUE(same_bits(first, with_seed(1)));
  EXPECT_GT(largest_difference(first, with_seed(2)), 1e-4);
  EXPECT_GT(largest_difference(first, qformer.forward(random_taps(10))), 1e-4);
}

TEST(QFormer, GradientsReachEveryParameterOfTheSource) {
  TensorMap weights = initial_qformer(small_config(), 7);
  for (auto& [name, tensor] : weights) {
    tensor.requires_grad_(true);
  }
  MapSource source(weights);
  QFormer(small_config(), source, at::kBFloat16).forward(random_taps(11)).square().sum().backward();
  for (const auto& [name, tensor] : weights) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    EXPECT_EQ(tensor.grad().scalar_type(), at::kFloat) << name;
    EXPECT_TRUE(tensor.grad().isfinite().all().item<bool>()) << name;
  }
}

TEST(QFormer, StartsFromPublishedInitialValues) {
  const TensorMap weights = initial_qformer({.d_model = 128, .heads = 4, .taps = {0, 1}}, 8);
  EXPECT_NEAR(weights.at("layer_prompts.1").std().item<double>(), 1.0, 0.05);
  EXPECT_EQ(largest(weights.at("layer_weights")), 0.0);
  EXPECT_TRUE(at::equal(weights.at("proj.0.weight"), at::ones({128})));
  EXPECT_NEAR(weights.at("qformer.layer.0.intermediate.dense.weight").std().item<double>(), 0.02,
              0.001);
  EXPECT_EQ(largest(weights.at("qformer.layer.1.crossattention.self.key.bias")), 0.0);
}

TEST(QFormer, RefusesSizesThatDoNotDivide) {
  QFormerConfig config = small_config();
  config.heads = 5;
  expect_model_error([&] { (void)initial_qformer(config, 1); }, {"32", "5"});
}

TEST(QFormer, NamesAMissingOrMisshapenParameter) {
  TensorMap weights = initial_qformer(small_config(), 9);
  MapSource source(weights);
  weights["proj.1.bias"] = at::zeros({23});
  expect_model_error([&] { QFormer qformer(small_config(), source); },
                     {"proj.1.bias", "[23]", "[24]"});
  weights.erase("proj.1.bias");
  expect_model_error([&] { QFormer qformer(small_config(), source); }, {"proj.1.bias", "missing"});
}

}  // namespace
}  // namespace desta::models
