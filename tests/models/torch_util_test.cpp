#include "models/torch_util.h"

#include <gtest/gtest.h>

#include "model_fixtures.h"
#include "models/attention.h"

namespace desta::models {
namespace {

TEST(Dropout, KeepsTheMeanAndScalesWhatStays) {
  const at::Tensor dropped = dropout(at::ones({100, 100}), 0.25, make_generator(1));
  const at::Tensor zero = dropped == 0.0;
  EXPECT_NEAR(zero.to(at::kDouble).mean().item<double>(), 0.25, 0.02);
  EXPECT_LT(largest_difference(dropped.masked_select(~zero),
                               at::full({(~zero).sum().item<int64_t>()}, 4.0 / 3)),
            1e-6);
}

TEST(Dropout, IsTheIdentityWithoutAGenerator) {
  const at::Tensor x = at::randn({8});
  EXPECT_TRUE(dropout(x, 0.5, c10::nullopt).is_same(x));
}

TEST(ElementTypes, GoThereAndBack) {
  for (const auto type :
       {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble, at::kInt, at::kLong, at::kByte}) {
    EXPECT_EQ(to_scalar_type(to_dtype(type)), type);
  }
  expect_model_error([] { (void)to_dtype(at::kComplexFloat); }, {"ComplexFloat"});
}

TEST(Precision, KnowsTwoNames) {
  EXPECT_EQ(parse_precision("float32"), at::kFloat);
  EXPECT_EQ(parse_precision("bfloat16"), at::kBFloat16);
  EXPECT_THROW((void)parse_precision("fp16"), runtime::ConfigError);
}

TEST(Blas, ReportsTheLibraryThatMultiplies) {
  const BlasReport report = probe_blas();
  EXPECT_NE(report.library.find(".so"), std::string::npos) << report.library;
  EXPECT_GT(report.gigaflops, 0.1);
}

TEST(Attention, IsTheWeightedMeanOfTheValues) {
  // One query, two keys with scores ln 1 and ln 3 (head_dim 1, so no scaling): weights 1/4 and 3/4.
  const at::Tensor q = at::ones({1, 1, 1, 1});
  const at::Tensor k = at::tensor({0.0F, std::log(3.0F)}).view({1, 1, 2, 1});
  const at::Tensor v = at::tensor({4.0F, 8.0F}).view({1, 1, 2, 1});
  EXPECT_NEAR(attention(q, k, v, {}).item<double>(), 7.0, 1e-6);
  // A bias of minus infinity hides a key.
  const at::Tensor bias =
      at::tensor({0.0F, -std::numeric_limits<float>::infinity()}).view({1, 1, 1, 2});
  EXPECT_NEAR(attention(q, k, v, bias).item<double>(), 4.0, 1e-6);
}

TEST(Attention, HeadsOfAGroupReadTheSameKeys) {
  // Four heads over two: heads 0 and 1 read key head 0, heads 2 and 3 key head 1.
  const at::Tensor q = at::randn({2, 4, 3, 8}, make_generator(2), at::kFloat);
  const at::Tensor k = at::randn({2, 2, 5, 8}, make_generator(3), at::kFloat);
  const at::Tensor v = at::randn({2, 2, 5, 8}, make_generator(4), at::kFloat);
  const at::Tensor spread_k = k.repeat_interleave(2, 1);
  const at::Tensor spread_v = v.repeat_interleave(2, 1);
  EXPECT_LT(largest_difference(attention(q, k, v, {}), attention(q, spread_k, spread_v, {})), 1e-6);
}

}  // namespace
}  // namespace desta::models
