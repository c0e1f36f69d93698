#include "trainer/stage.h"

#include <malloc.h>

#include "models/safetensors.h"
#include "runtime/core/error.h"
#include "trainer/training_layout.h"
#include "shared_job.h"

namespace desta::trainer {
namespace {

// The loss of one microbatch and the adapter's gradient, through `stages` stages in this process.
double pass(std::int64_t stages, at::Tensor& gradient) {
  TrainingOptions options = shared_job();
  options.pipeline.stages = stages;
  const auto shapes = read_shapes(options);
  const models::Tokenizer tokenizer(options.models.llm);
  const BatchLoader loader(options.dataset, tokenizer, options.batch, shapes.adapter.queries, 1);
  Trial trial(0, shapes.adapter, options.optimizer, options.seed, 10, at::kFloat);
  std::vector<Stage> chain;
  for (const auto& part : partition(shapes, stages)) {
    models::ModelFolder speech(options.models.speech);
    models::ModelFolder llm(options.models.llm);
    chain.emplace_back(part, shapes, speech, llm);
  }
  const auto rows = loader.training_rows(0, 0);
  Activations activations;
  for (auto& stage : chain) {
    activations = stage.forward({.key = 0, .global_microbatch = 0, .rows = &rows, .learn = true},
                                activations, stage.part().adapter ? &trial : nullptr, loader, 1.0);
  }
  Activations back;
  for (auto stage = chain.rbegin(); stage != chain.rend() && stage->part().has_backward(); ++stage) {
    back = stage->backward(0, back);
  }
  gradient = trial.parameters().gradients().clone();
  const auto loss = chain.back().take_loss();
  EXPECT_EQ(loss.tokens, loader.text(rows).targets.numel());
  return loss.scaled_sum;
}

TEST(Stage, ACutAnywhereGivesTheSameLossAndGradientAsTheWhole) {
  at::Tensor whole;
  const double loss = pass(1, whole);
  EXPECT_GT(loss, 0);
  EXPECT_GT(whole.norm().item<double>(), 0);
  const auto units = static_cast<std::int64_t>(list_units(read_shapes(shared_job())).size());
  for (std::int64_t stages = 2; stages <= units; ++stages) {
    at::Tensor gradient;
    EXPECT_NEAR(pass(stages, gradient) / loss, 1.0, 1e-6) << stages << " stages";
    EXPECT_LT(((gradient - whole).norm() / whole.norm()).item<double>(), 1e-5) << stages << " stages";
  }
}

// Bytes that are allocated now.
double live_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return static_cast<double>(info.uordblks + info.hblkhd);
}

// What one stage of everything keeps between the passes, and the gradient in the end.
double kept_bytes(bool recompute, at::Tensor& gradient) {
  TrainingOptions options = shared_job();
  options.pipeline.recompute = recompute;
  const auto shapes = read_shapes(options);
  const models::Tokenizer tokenizer(options.models.llm);
  const BatchLoader loader(options.dataset, tokenizer, options.batch, shapes.adapter.queries, 1);
  Trial trial(0, shapes.adapter, options.optimizer, options.seed, 10, at::kFloat);
  models::ModelFolder speech(options.models.speech);
  models::ModelFolder llm(options.models.llm);
  Stage stage(partition(shapes, 1).front(), shapes, speech, llm);
  const auto rows = loader.training_rows(0, 0);
  const auto forward = [&](std::int64_t key) {
    (void)stage.forward({.key = key, .global_microbatch = 0, .rows = &rows, .learn = true}, {}, &trial, loader,
                        1.0);
  };
  forward(0);  // what is made once is there after it
  const double before = live_bytes();
  forward(1);
  const double kept = live_bytes() - before;
  (void)stage.backward(0, {});
  trial.parameters().gradients().zero_();
  (void)stage.backward(1, {});
  gradient = trial.parameters().gradients().clone();
  return kept;
}

TEST(Stage, RecomputingKeepsLittleAndGivesTheSameGradientToTheBit) {
  at::Tensor kept_gradient;
  at::Tensor again_gradient;
  const double kept = kept_bytes(false, kept_gradient);
  const double again = kept_bytes(true, again_gradient);
  EXPECT_TRUE(at::equal(kept_gradient, again_gradient));
  EXPECT_GT(kept_gradient.norm().item<double>(), 0);
  EXPECT_LT(again, kept / 2) << kept << " and " << again;
}

TEST(CheckLayout, RanksMustBeStagesTimesReplicas) {
  TrainingOptions options = shared_job();
  options.pipeline.stages = 3;
  options.replicas = 2;
  EXPECT_NO_THROW(check_layout(options, 6));
  try {
    check_layout(options, 4);
    FAIL();
  } catch (const runtime::ConfigError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("4 ranks"), std::string::npos) << what;
    EXPECT_NE(what.find("pipeline.stages 3 x data_parallel.replicas 2 = 6"), std::string::npos) << what;
    EXPECT_NE(what.find("mpirun -n 6"), std::string::npos) << what;
  }
}

TEST(CheckLayout, BatchesMustDivideAmongReplicasAndMicrobatches) {
  TrainingOptions options = shared_job();
  options.replicas = 2;
  for (const BatchOptions& wrong : {BatchOptions{.global_size = 10, .micro_size = 4},
                                    BatchOptions{.global_size = 8, .micro_size = 0},
                                    BatchOptions{.global_size = 0, .micro_size = 1},
                                    BatchOptions{.global_size = 8, .micro_size = 8}}) {
    options.batch = wrong;
    EXPECT_THROW(check_layout(options, 2), runtime::ConfigError)
        << wrong.global_size << " by " << wrong.micro_size;
  }
  EXPECT_EQ(RankPlace::of(5, 2).replica, 2);
  EXPECT_EQ(RankPlace::of(5, 2).stage, 1);
}

TEST(ReadShapes, ATapOutsideTheEncoderIsAnErrorWithItsNumber) {
  TrainingOptions options = shared_job();
  options.adapter.taps = {0, 4};
  try {
    (void)read_shapes(options);
    FAIL();
  } catch (const runtime::ConfigError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("adapter.taps has 4"), std::string::npos) << what;
    EXPECT_NE(what.find("layers 0 to 3"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace desta::trainer
