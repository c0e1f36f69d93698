// Llama::step() by rows in memory, beside the same by tensors, which a model whose updates are zero goes by.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "model_fixtures.h"
#include "models/llama.h"
#include "models/lora.h"

namespace desta::models {
namespace {

constexpr std::int64_t kPages = 8;

class LlamaByRows : public testing::TestWithParam<at::ScalarType> {
 protected:
  LlamaByRows()
      : folder_(fixture("llama-untied")),
        config_(LlamaConfig::load(folder_)),
        source_(folder_, GetParam()),
        llama_(config_, LlamaPart::whole(config_), source_) {}

  [[nodiscard]] Tensor prompt() const { return load_safetensors(folder_ / "expected.safetensors").at("tokens"); }

  // Two prompts at once, then a token of the one beside a piece of the other: the last step's output.
  static Tensor answer(const Llama& llama, const Tensor& prompt) {
    const auto pages = llama.make_pages(kPages);
    const StepPlan first{.sequences = {{{5, 1}, 0, 20, false}, {{3, 0, 2}, 0, 31, false}}};
    (void)llama.step(llama.embed(at::cat({prompt.narrow(0, 0, 20), prompt.narrow(0, 7, 31)})), first, *pages);
    const StepPlan second{.sequences = {{{5, 1}, 20, 1, true}, {{3, 0, 2}, 31, 9, true}}};
    return llama.step(llama.embed(at::cat({prompt.narrow(0, 40, 1), prompt.narrow(0, 2, 9)})), second, *pages);
  }

  std::filesystem::path folder_;
  LlamaConfig config_;
  ModelFolder source_;
  Llama llama_;
};

TEST_P(LlamaByRows, GiveTheLogitsOfTensors) {
  TensorMap updates = initial_lora(config_, {.rank = 2, .targets = {"q"}}, 0, config_.num_layers, 1);
  MapSource of_updates(updates);
  const Lora lora(of_updates, {.rank = 2});
  const Llama by_tensors(config_, LlamaPart::whole(config_), source_, &lora);
  const Tensor rows = answer(llama_, prompt());
  const Tensor tensors = answer(by_tensors, prompt());
  ASSERT_EQ(rows.sizes(), tensors.sizes());
  // The same roundings of every operation's result; cosines and sums may differ in the last place.
  const double tolerance = GetParam() == at::kFloat ? 2e-5 : 0.05;
  EXPECT_LT(largest_difference(rows, tensors), tolerance * largest(tensors));
}

TEST_P(LlamaByRows, ThreadsDoNotShow) {
  const Tensor alone = answer(llama_, prompt());
  const int before = at::get_num_threads();
  for (const int threads : {2, 3, 5}) {
    at::set_num_threads(threads);
    EXPECT_TRUE(same_bits(answer(llama_, prompt()), alone)) << threads;
  }
  at::set_num_threads(before);
}

TEST_P(LlamaByRows, OfAPartAreWhatTheNextBeginsWith) {
  const Llama front(config_, {.first_layer = 0, .end_layer = 1, .embedding = true}, source_);
  const Llama back(config_, {.first_layer = 1, .end_layer = 2, .head = true}, source_);
  const auto front_pages = front.make_pages(kPages);
  const auto back_pages = back.make_pages(kPages);
  const auto pages = llama_.make_pages(kPages);
  const StepPlan plan{.sequences = {{{4, 6}, 0, 30, true}}};
  const Tensor input = llama_.embed(prompt().narrow(0, 0, 30));
  const Tensor between = front.step(input, plan, *front_pages);
  EXPECT_EQ(between.sizes(), at::IntArrayRef({30, config_.hidden_size}));
  EXPECT_TRUE(same_bits(back.step(between, plan, *back_pages), llama_.step(input, plan, *pages)));
}

INSTANTIATE_TEST_SUITE_P(Precisions, LlamaByRows, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

}  // namespace
}  // namespace desta::models
