#include "models/lora.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/llama.h"
#include "models/safetensors.h"
#include "runtime/core/error.h"

namespace desta::models {
namespace {

LlamaConfig small_llama() {
  LlamaConfig config;
  config.vocab_size = 20;
  config.hidden_size = 8;
  config.intermediate_size = 12;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  return config;
}

// Hu et al. 2021, equation 3, against the product written out.
TEST(Lora, AddsTheScaledProductOfItsFactors) {
  const Tensor weight = at::arange(6, at::kFloat).view({2, 3});
  const Tensor a = at::tensor({1.0F, 2.0F, 3.0F}).view({1, 3});
  const Tensor b = at::tensor({0.5F, -1.0F}).view({2, 1});
  const Tensor x = at::tensor({1.0F, 1.0F, 2.0F});
  const Tensor y = LoraLinear(weight, a, b, 2.0)(x);
  // W x = (5, 17); A x = 9; 2 B A x = (9, -18).
  EXPECT_FLOAT_EQ(y[0].item<float>(), 14);
  EXPECT_FLOAT_EQ(y[1].item<float>(), -1);
}

TEST(Lora, AModelStartsAsItWasAndGradientsReachTheUpdateAlone) {
  const LlamaConfig config = small_llama();
  TensorMap weights;
  RandomSource random(weights, 3, 0.3);
  const Llama plain(config, LlamaPart::whole(config), random);
  TensorMap updates = initial_lora(config, {.rank = 2, .alpha = 4, .targets = {"q", "k", "v"}}, 0, 2, 1);
  for (auto& [name, tensor] : updates) {
    tensor.set_requires_grad(true);
  }
  MapSource frozen(weights);
  MapSource source(updates);
  const Lora lora(source, {.rank = 2, .alpha = 4});
  const Llama tuned(config, LlamaPart::whole(config), frozen, &lora);
  const Tensor tokens = at::arange(5, at::kLong).unsqueeze(0);
  const Tensor out = tuned.run_layers(tuned.embed(tokens));
  EXPECT_TRUE(at::allclose(out, plain.run_layers(plain.embed(tokens)), 0, 1e-6));
  out.square().sum().backward();
  for (const auto& [name, tensor] : updates) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const bool factor_a = name.find("lora_A") != std::string::npos;
    const double size = tensor.grad().norm().item<double>();
    EXPECT_EQ(size == 0, factor_a) << name << ": B is zero, so nothing flows to A yet";
  }
  for (const auto& [name, tensor] : weights) {
    EXPECT_FALSE(tensor.grad().defined()) << name;
  }
}

TEST(Lora, AFileTellsItsRankScaleAndTargets) {
  const auto path = std::filesystem::temp_directory_path() /
                    fmt::format("desta-lora-{}.safetensors", ::getpid());
  const TensorMap updates = initial_lora(small_llama(), {.rank = 3, .alpha = 5, .targets = {"q", "v"}}, 0, 1, 1);
  save_safetensors(path, updates, {{"train.lora.rank", "3"}, {"train.lora.alpha", "5"}});
  const LoraConfig read = lora_config_of(path);
  EXPECT_EQ(read.rank, 3);
  EXPECT_EQ(read.alpha, 5);
  EXPECT_EQ(read.targets, (std::vector<std::string>{"q", "v"}));
  save_safetensors(path, updates);
  EXPECT_THROW((void)lora_config_of(path), runtime::ModelError);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace desta::models
