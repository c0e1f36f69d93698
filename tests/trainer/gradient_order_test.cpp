// Which gradients come first, and how they are cut into buckets.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <set>

#include "trainer/arrival_order.h"
#include "trainer/gradient_reducer.h"

namespace desta::trainer {
namespace {

models::QFormerConfig small_adapter() {
  models::QFormerConfig config;
  config.d_model = 24;
  config.heads = 2;
  config.d_llm = 40;
  config.taps = {0, 2, 3};
  config.queries = 5;
  config.layers = 3;
  config.ffn = 16;
  return config;
}

std::vector<FlatParameters::Piece> pieces_of(const std::vector<std::int64_t>& counts) {
  std::vector<FlatParameters::Piece> pieces;
  std::int64_t offset = 0;
  for (const auto count : counts) {
    pieces.push_back({fmt::format("p{}", pieces.size()), offset, {count}});
    offset += count;
  }
  return pieces;
}

TEST(GradientBuckets, TheFirstIsSmallAndNoneIsCutThroughAParameter) {
  const auto buckets = cut_buckets(pieces_of({3, 2, 6, 4, 20, 1}), /*first_size=*/5, /*size=*/10);
  const std::vector<GradientBucket> expected = {
      {0, 5, 0, 2}, {5, 10, 2, 2}, {15, 20, 4, 1}, {35, 1, 5, 1}};
  EXPECT_EQ(buckets, expected);
}

TEST(GradientBuckets, NothingToLearnHasNone) { EXPECT_TRUE(cut_buckets({}, 5, 10).empty()); }

// The order found on a narrow adapter is that of the real one.
TEST(ArrivalOrder, IsTheOrderOfARealBackwardPass) {
  const models::QFormerConfig config = small_adapter();
  const auto order = arrival_order(config, {});
  FlatParameters parameters(models::initial_qformer(config, 3), at::kCPU, order);
  ASSERT_EQ(parameters.pieces().size(), order.size()) << "every parameter is in it";
  models::MapSource source(parameters.tensors());
  const models::QFormer adapter(config, source);
  std::vector<std::size_t> seen;
  const GradientHooks hooks(parameters, [&](std::size_t piece) { seen.push_back(piece); });
  const std::vector<at::Tensor> tapped(config.taps.size(), at::randn({2, 7, config.d_model}));
  for (int pass = 0; pass < 2; ++pass) {
    seen.clear();
    torch::autograd::backward({adapter.forward(tapped).pow(2).sum()}, {});
    ASSERT_EQ(seen.size(), order.size()) << "each once a pass";
    EXPECT_TRUE(std::ranges::is_sorted(seen));
  }
}

TEST(ArrivalOrder, PutsTheLlmBeforeTheAdapterAndWhisperBehind) {
  const at::Tensor any = at::zeros({1});
  models::TensorMap others;
  for (const char* layer : {"2", "10"}) {
    others["base_model.model.model.layers." + std::string(layer) + ".self_attn.q_proj.lora_A.weight"] = any;
    others["model.encoder.layers." + std::string(layer) + ".fc1.weight"] = any;
  }
  const auto order = arrival_order(small_adapter(), others);
  ASSERT_GT(order.size(), 4u);
  const auto is = [&](std::size_t index, const std::string& part, const std::string& layer) {
    return order[index].find(part) != std::string::npos &&
           order[index].find("layers." + layer + ".") != std::string::npos;
  };
  EXPECT_TRUE(is(0, "lora_A", "10")) << order[0];
  EXPECT_TRUE(is(1, "lora_A", "2")) << order[1];
  EXPECT_TRUE(is(order.size() - 2, "encoder", "10")) << order[order.size() - 2];
  EXPECT_TRUE(is(order.size() - 1, "encoder", "2")) << order.back();
}

TEST(FlatParameters, LieInTheOrderThatIsAskedForThenByName) {
  const FlatParameters parameters(
      {{"a", at::ones({1})}, {"b", at::ones({2})}, {"c", at::ones({3})}}, at::kCPU,
      {"c", "unknown", "a", "c"});
  std::vector<std::string> names;
  for (const auto& piece : parameters.pieces()) {
    names.push_back(piece.name);
  }
  EXPECT_EQ(names, (std::vector<std::string>{"c", "a", "b"}));
}

TEST(FlatParameters, GradientsMoveWithTheirValues) {
  FlatParameters parameters({{"a", at::full({2}, 3.0)}, {"b", at::full({1}, 5.0)}});
  const auto& a = parameters.tensors().at("a");
  torch::autograd::backward({a.sum()}, {});
  const at::Tensor memory = at::full({3}, 99.0);
  parameters.move_gradients(memory);
  torch::autograd::backward({(a * 2).sum()}, {});
  EXPECT_TRUE(at::equal(memory, at::tensor({3.0F, 3.0F, 0.0F}))) << memory;
  EXPECT_TRUE(at::equal(a.grad(), at::tensor({3.0F, 3.0F})));
}

}  // namespace
}  // namespace desta::trainer
