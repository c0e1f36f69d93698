#include "trainer/learned.h"

#include <gtest/gtest.h>

#include "models/safetensors.h"
#include "runtime/core/error.h"
#include "shared_job.h"
#include "trainer/replica_engine.h"

namespace desta::trainer {
namespace {

ModelShapes shapes_for(const std::string& what) {
  TrainingOptions options = shared_job();
  options.train.what = what;
  options.train.lora = {.rank = 2, .alpha = 6, .targets = {"q", "v"}};
  options.train.encoder_layers = 2;
  return read_shapes(options);
}

models::TensorMap beside(const ModelShapes& shapes, std::int64_t stages) {
  models::TensorMap all;
  for (const auto& part : partition(shapes, stages)) {
    all.merge(initial_beside_adapter(part, shapes, shared_job().models.speech, 5));
  }
  return all;
}

TEST(Learned, TheAdapterAloneIsTheDefaultAndPaysForNothing) {
  const ModelShapes shapes = read_shapes(shared_job());
  EXPECT_TRUE(beside(shapes, 1).empty());
  const auto parts = partition(shapes, 4);
  EXPECT_EQ(learning_stages(parts), std::vector<std::int64_t>{adapter_stage(parts)});
}

TEST(Learned, LowRankUpdatesHaveTwoFactorsATargetAndLayer) {
  const ModelShapes shapes = shapes_for("lora");
  const auto tensors = beside(shapes, 1);
  EXPECT_EQ(tensors.size(), 2u * 2u * 4u) << "A and B of q and v in four layers";
  const auto& a = tensors.at("base_model.model.model.layers.3.self_attn.v_proj.lora_A.weight");
  const auto& b = tensors.at("base_model.model.model.layers.3.self_attn.v_proj.lora_B.weight");
  EXPECT_EQ(a.sizes().vec(), (std::vector<std::int64_t>{2, 32}));
  EXPECT_EQ(b.sizes().vec(), (std::vector<std::int64_t>{16, 2})) << "two key heads of 8";
  EXPECT_EQ(b.abs().sum().item<float>(), 0) << "the model starts as it was";
  EXPECT_GT(a.abs().sum().item<float>(), 0);
}

TEST(Learned, EncoderLayersAreTheTopmostThatAreReadAndStartAsTheyWere) {
  const ModelShapes shapes = shapes_for("encoder");
  const auto tensors = beside(shapes, 1);
  const auto whisper = models::load_safetensors(
      std::filesystem::path(shared_job().models.speech) / "model.safetensors");
  std::size_t expected = 0;
  for (const auto& [name, tensor] : whisper) {
    if (name.starts_with("model.encoder.layers.2.") || name.starts_with("model.encoder.layers.3.")) {
      ++expected;
      ASSERT_TRUE(tensors.contains(name)) << name;
      EXPECT_TRUE(at::equal(tensors.at(name), tensor)) << name;
    }
  }
  EXPECT_EQ(tensors.size(), expected);
}

TEST(Learned, InitialValuesDoNotDependOnTheCut) {
  for (const char* what : {"lora", "encoder"}) {
    const ModelShapes shapes = shapes_for(what);
    const auto whole = beside(shapes, 1);
    const auto cut = beside(shapes, 5);
    ASSERT_EQ(whole.size(), cut.size()) << what;
    for (const auto& [name, tensor] : whole) {
      EXPECT_TRUE(at::equal(tensor, cut.at(name))) << name;
    }
  }
}

TEST(Learned, EveryParameterHasItsFile) {
  EXPECT_EQ(parameter_file("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"),
            "lora.safetensors");
  EXPECT_EQ(parameter_file("model.encoder.layers.3.fc1.weight"), "encoder.safetensors");
  for (const auto& [name, tensor] : models::initial_qformer(shapes_for("adapter").adapter, 1)) {
    EXPECT_EQ(parameter_file(name), "adapter.safetensors") << name;
  }
}

TEST(Learned, MoreEncoderLayersThanAreReadAreRefused) {
  TrainingOptions options = shared_job();
  options.train.what = "encoder";
  options.train.encoder_layers = 5;
  EXPECT_THROW((void)read_shapes(options), runtime::ConfigError);
}

}  // namespace
}  // namespace desta::trainer
