#include "models/llama.h"

#include <gtest/gtest.h>

#include "model_fixtures.h"

namespace desta::models {
namespace {

Llama load(const std::string& name, at::ScalarType precision = at::kFloat) {
  ModelFolder source(fixture(name), precision);
  const auto config = LlamaConfig::load(fixture(name));
  return Llama(config, LlamaPart::whole(config), source);
}

Tensor full_logits(const Llama& llama, const Tensor& tokens) {
  const at::NoGradGuard no_grad;
  return llama.logits(llama.run_layers(llama.embed(tokens)));
}

// Models of two layers whose logits llama.cpp has computed in float32 (bench/peers): grouped
// queries, heads of 8 to 32, tied and untied heads, llama3 frequency scaling, bfloat16 and float16
// files, one file and two shards.
class LlamaParity : public testing::TestWithParam<std::string> {
 protected:
  TensorMap expected_ = load_safetensors(fixture(GetParam()) / "expected.safetensors");
};

TEST_P(LlamaParity, LogitsAreThoseOfLlamaCpp) {
  const Tensor logits = full_logits(load(GetParam()), expected_.at("tokens").unsqueeze(0))[0];
  // Both sum in float32, in another order; llama.cpp's own exp is good to 1e-6.
  EXPECT_LT(largest_difference(logits, expected_.at("logits")),
            2e-5 * largest(expected_.at("logits")));
}

TEST_P(LlamaParity, GreedyContinuationIsThatOfLlamaCpp) {
  const Llama llama = load(GetParam());
  const auto pages = llama.make_pages(6);
  SequenceRows rows{.pages = {0, 1, 2, 3, 4, 5}, .wants_logits = true};
  Tensor input = expected_.at("tokens");
  std::vector<std::int64_t> tokens;
  const auto steps = expected_.at("greedy").size(0);
  while (static_cast<std::int64_t>(tokens.size()) < steps) {
    rows.count = input.size(0);
    const Tensor logits = llama.step(llama.embed(input), {.sequences = {rows}}, *pages);
    rows.first += rows.count;
    input = logits.argmax(1);
    tokens.push_back(input.item<std::int64_t>());
  }
  EXPECT_TRUE(at::equal(at::tensor(tokens, at::kLong), expected_.at("greedy")));
}

TEST_P(LlamaParity, Bfloat16StaysWithinItsRounding) {
  const Tensor tokens = expected_.at("tokens").unsqueeze(0);
  const Tensor logits = full_logits(load(GetParam(), at::kBFloat16), tokens)[0];
  EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
  // Eight bits a rounding (0.4 %), some thirty roundings in a row that add like noise: 2 %.
  const Tensor error = logits.to(at::kFloat) - expected_.at("logits");
  EXPECT_LT(error.norm().item<double>(), 0.05 * expected_.at("logits").norm().item<double>());
}

TEST_P(LlamaParity, CutInPartsGivesTheBitsOfTheWhole) {
  const at::NoGradGuard no_grad;
  const auto config = LlamaConfig::load(fixture(GetParam()));
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    ModelFolder source(fixture(GetParam()), precision);
    const Llama front(config, {.first_layer = 0, .end_layer = 1, .embedding = true}, source);
    const Llama back(config, {.first_layer = 1, .end_layer = 2, .head = true}, source);
    const Tensor tokens = expected_.at("tokens").unsqueeze(0);
    const Tensor cut = back.logits(back.run_layers(front.run_layers(front.embed(tokens))));
    EXPECT_TRUE(same_bits(cut, full_logits(load(GetParam(), precision), tokens)));
  }
}

TEST_P(LlamaParity, SequencesBehindASharedPrefixAreAsIfTheyHadItThemselves) {
  const at::NoGradGuard no_grad;
  const Llama llama = load(GetParam());
  const Tensor tokens = expected_.at("tokens");
  const Tensor prefix = tokens.narrow(0, 0, 3);
  const std::vector<Tensor> rests = {tokens.narrow(0, 3, 4), tokens.narrow(0, 5, 2), tokens.narrow(0, 2, 5)};
  std::vector<Tensor> alone;
  for (const Tensor& rest : rests) {
    const Tensor whole = llama.run_layers(llama.embed(at::cat({prefix, rest})).unsqueeze(0))[0];
    alone.push_back(whole.narrow(0, 3, rest.size(0)));
  }
  const LlamaPrefix made = llama.make_prefix(llama.embed(prefix));
  const Tensor packed = llama.run_layers(llama.embed(at::cat(rests)), Packing({4, 2, 5}), made);
  EXPECT_LT(largest_difference(packed, at::cat(alone)), 1e-5 * largest(packed));
  EXPECT_EQ(made.length, 3);
  EXPECT_EQ(made.output.size(0), 3);
}

INSTANTIATE_TEST_SUITE_P(Peers, LlamaParity,
                         testing::Values("llama-tied", "llama-untied", "llama-scaled"),
                         [](const auto& info) { return info.param.substr(6); });

TEST(Llama, APartAsksForItsOwnTensorsOnly) {
  const auto config = LlamaConfig::load(fixture("llama-untied"));
  ModelFolder source(fixture("llama-untied"));
  const Llama middle(config, {.first_layer = 1, .end_layer = 2}, source);
  EXPECT_EQ(source.loaded().size(), 9U);
  for (const auto& [name, tensor] : source.loaded()) {
    EXPECT_TRUE(name.starts_with("model.layers.1.")) << name;
  }
}

TEST(Llama, CountsTheParametersOfItsLayersAsThePublishedModelsDo) {
  // Llama-3-8B: 8,030,261,248 in all (model card), with an untied head.
  LlamaConfig config;
  config.vocab_size = 128256;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.num_heads = 32;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  EXPECT_EQ(32 * config.layer_parameters() + 2 * config.embedding_parameters() + 4096,
            8'030'261'248);
}

TEST(Llama, ScalesFrequenciesInThreeBands) {
  LlamaConfig config;
  config.head_dim = 8;
  config.rope_theta = 10000.0;
  const Tensor plain = rotary_inverse_frequencies(config);
  // Wavelengths 6.3, 62.8, 628 and 6283 against a context of 1024 and bounds 1024 and 256.
  config.rope_scaling = RopeScaling{.factor = 8.0,
                                    .low_freq_factor = 1.0,
                                    .high_freq_factor = 4.0,
                                    .original_max_position_embeddings = 1024};
  const Tensor scaled = rotary_inverse_frequencies(config);
  EXPECT_FLOAT_EQ(scaled[0].item<float>(), plain[0].item<float>());
  EXPECT_FLOAT_EQ(scaled[1].item<float>(), plain[1].item<float>());
  // smooth = (1024 / 628.3185 - 1) / 3 = 0.2099155; (1 - smooth) / 8 + smooth = 0.3086761.
  EXPECT_NEAR(scaled[2].item<double>() / plain[2].item<double>(), 0.3086761, 1e-6);
  EXPECT_FLOAT_EQ(scaled[3].item<float>(), plain[3].item<float>() / 8.0F);
}

TEST(Llama, EarlierPositionsDoNotSeeLaterOnes) {
  const Llama llama = load("llama-tied");
  Tensor tokens = at::arange(20, at::kLong).unsqueeze(0);
  const Tensor before = full_logits(llama, tokens);
  tokens[0][12] = 99;
  const Tensor after = full_logits(llama, tokens);
  EXPECT_TRUE(at::equal(before.narrow(1, 0, 12), after.narrow(1, 0, 12)));
  EXPECT_GT(largest_difference(before.narrow(1, 12, 8), after.narrow(1, 12, 8)), 1e-3);
}

}  // namespace
}  // namespace desta::models
