#include "trainer/layer_costs.h"

#include <gtest/gtest.h>

#include "runtime/core/error.h"
#include "trainer/layer_profile.h"

namespace desta::trainer {
namespace {

// Large enough that what malloc adds does not matter.
ModelShapes shapes_of(std::int64_t element_bytes) {
  ModelShapes shapes;
  shapes.whisper.d_model = 64;
  shapes.whisper.encoder_layers = 2;
  shapes.whisper.encoder_heads = 4;
  shapes.whisper.encoder_ffn = 256;
  shapes.whisper.max_source_positions = 200;
  shapes.llama.hidden_size = 128;
  shapes.llama.intermediate_size = 384;
  shapes.llama.num_layers = 2;
  shapes.llama.num_heads = 4;
  shapes.llama.num_kv_heads = 2;
  shapes.llama.head_dim = 32;
  shapes.llama.vocab_size = 1000;
  shapes.adapter.d_model = 64;
  shapes.adapter.heads = 4;
  shapes.adapter.d_llm = 128;
  shapes.adapter.taps = {0, 1};
  shapes.adapter.queries = 16;
  shapes.adapter.ffn = 256;
  shapes.text_tokens = 184;
  shapes.element_bytes = element_bytes;
  return shapes;
}

TEST(LayerCosts, AreReadAsTheyWereWritten) {
  LayerCosts costs;
  costs.origin = "measured \"somewhere\"";
  costs.models = "large ones";
  costs.adapter = {.forward = 1.5e-3, .backward = 3e-3, .kept_bytes = 12345};
  costs.head = {.forward = 2e-3};
  const LayerCosts read = parse_layer_costs(to_json(costs), "costs.json");
  EXPECT_EQ(to_json(read), to_json(costs));
  EXPECT_EQ(read.adapter.kept_bytes, 12345);
}

TEST(LayerCosts, WhatIsNoneIsNamedWithTheFile) {
  const auto message_of = [](const std::string& text) -> std::string {
    try {
      (void)parse_layer_costs(text, "costs.json");
      return "";
    } catch (const runtime::ConfigError& error) {
      return error.what();
    }
  };
  EXPECT_NE(message_of("{").find("costs.json: not a profile of layers"), std::string::npos);
  EXPECT_NE(message_of("[]").find("costs.json: not a profile of layers"), std::string::npos);
  EXPECT_NE(message_of("{}").find("costs.json: encoder_front.forward is not"), std::string::npos);
  LayerCosts costs;
  costs.adapter.backward = -1;
  const std::string negative = to_json(costs);
  EXPECT_NE(message_of(negative).find("0 or more"), std::string::npos) << negative;
  try {
    (void)read_layer_costs("no/such.json");
    FAIL();
  } catch (const runtime::ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("no/such.json: no such file"), std::string::npos);
  }
}

TEST(LayerProfile, MeasuresEveryKind) {
  ModelShapes shapes = shapes_of(4);
  const LayerCosts frozen = measure_layer_costs(shapes, 2, at::kFloat, at::kCPU);
  for (const UnitCost* cost : {&frozen.encoder_front, &frozen.encoder_layer, &frozen.adapter,
                               &frozen.llm_layer, &frozen.head}) {
    EXPECT_GT(cost->forward, 0);
  }
  EXPECT_EQ(frozen.encoder_layer.backward, 0) << "nothing flows back into the frozen encoder";
  EXPECT_EQ(frozen.encoder_layer.kept_bytes, 0);
  EXPECT_EQ(frozen.trained_encoder_layer.forward, 0);
  EXPECT_GT(frozen.adapter.backward, 0);
  EXPECT_GT(frozen.llm_layer.backward, 0);
  shapes.trained_encoder_layers = 1;
  shapes.lora = models::LoraConfig{};
  const LayerCosts learning = measure_layer_costs(shapes, 2, at::kFloat, at::kCPU);
  EXPECT_GT(learning.trained_encoder_layer.backward, 0);
  EXPECT_GT(learning.trained_encoder_layer.kept_bytes, 0);
  EXPECT_GE(learning.llm_layer.kept_bytes, frozen.llm_layer.kept_bytes);
  shapes.costs = learning;
  EXPECT_NO_THROW((void)partition(shapes, 3));
}

// A product with a frozen weight needs the weight for its input's gradient, and nothing else.
TEST(LayerProfile, FrozenProductsKeepNoActivation) {
  const at::Tensor weight = at::randn({512, 512});
  const at::Tensor input = at::randn({1000, 512}).requires_grad_(true);
  const auto one = static_cast<double>(1000 * 512 * sizeof(float));
  const auto kept = [&](int products) {
    const at::AutoGradMode gradients(true);
    const std::uint64_t before = live_bytes();
    at::Tensor out = input;
    for (int i = 0; i < products; ++i) {
      out = at::linear(out, weight);
    }
    return static_cast<double>(live_bytes() - before) / one;
  };
  EXPECT_NEAR(kept(1), 1, 0.01) << "the result";
  EXPECT_NEAR(kept(6), 1, 0.01) << "the last result";
}

// What list_units counts is what is there.
TEST(LayerProfile, KeptBytesAreAsTheyAreCounted) {
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    const ModelShapes shapes = shapes_of(precision == at::kFloat ? 4 : 2);
    const LayerCosts measured = measure_layer_costs(shapes, 16, precision, at::kCPU);
    for (const Unit& unit : list_units(shapes)) {
      if (unit.kind == UnitKind::kLlamaLayer) {
        EXPECT_NEAR(measured.llm_layer.kept_bytes / unit.cost.kept_bytes, 1, 0.1);
      } else if (unit.kind == UnitKind::kAdapter) {
        EXPECT_NEAR(measured.adapter.kept_bytes / unit.cost.kept_bytes, 1, 0.35) << precision;
      } else if (unit.kind == UnitKind::kHead) {
        EXPECT_NEAR(measured.head.kept_bytes / unit.cost.kept_bytes, 1, 0.35);
      }
    }
  }
}

}  // namespace
}  // namespace desta::trainer
