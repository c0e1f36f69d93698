#include "models/tile_product.h"

#include <gtest/gtest.h>

#include <tuple>

#include "model_fixtures.h"
#include "models/torch_util.h"

namespace desta::models {
namespace {

// Rows, depth, columns: whole tiles, and what is left beside and below them.
class TileProduct : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t, std::int64_t>> {
 protected:
  TileProduct() {
    const auto [rows, depth, columns] = GetParam();
    at::Generator generator = make_generator(1);
    left_ = at::randn({rows, depth}, generator, at::kFloat);
    right_ = at::randn({depth, columns + 3}, generator, at::kFloat);
    out_ = at::randn({rows, columns + 5}, generator, at::kFloat);
    before_ = out_.clone();
    exact_ = at::mm(left_.to(at::kDouble), right_.narrow(1, 0, columns).to(at::kDouble));
  }

  void multiply(const Tensor& left, std::int64_t row, std::int64_t column, bool add) {
    const auto [rows, depth, columns] = GetParam();
    tile_product({left.data_ptr<float>(), row, column}, right_.data_ptr<float>(), columns + 3, out_.data_ptr<float>(),
                 columns + 5, rows, depth, columns, add);
  }
  void expect(const Tensor& product) const {
    const auto columns = std::get<2>(GetParam());
    EXPECT_LT(largest_difference(out_.narrow(1, 0, columns), product), 1e-4);
    EXPECT_TRUE(at::equal(out_.narrow(1, columns, 5), before_.narrow(1, columns, 5))) << "behind each row";
  }

  Tensor left_, right_, out_, before_, exact_;
};

TEST_P(TileProduct, IsTheProductOfAPartOfEachMatrix) {
  multiply(left_, left_.size(1), 1, false);
  expect(exact_);
}

TEST_P(TileProduct, AddsToWhatIsThere) {
  multiply(left_, left_.size(1), 1, true);
  expect(exact_ + before_.narrow(1, 0, exact_.size(1)).to(at::kDouble));
}

TEST_P(TileProduct, TakesATransposedFactor) {
  const Tensor transposed = left_.t().contiguous();
  multiply(transposed, 1, left_.size(0), false);
  expect(exact_);
}

INSTANTIATE_TEST_SUITE_P(Sizes, TileProduct,
                         testing::Values(std::tuple{6, 64, 64}, std::tuple{13, 7, 128}, std::tuple{5, 33, 16},
                                         std::tuple{24, 110, 112}, std::tuple{1, 1, 1}, std::tuple{11, 20, 125},
                                         std::tuple{3, 0, 32}));

}  // namespace
}  // namespace desta::models
