#include "models/row_product.h"

#include <gtest/gtest.h>

#include "model_fixtures.h"
#include "models/torch_util.h"

namespace desta::models {
namespace {

struct Shape {
  std::int64_t out;
  std::int64_t in;
};

// Widths of published models, and such that leave a rest everywhere.
constexpr Shape kShapes[] = {{256, 704}, {1792, 256}, {33, 96}, {32, 32}, {5, 64}, {100, 31}, {1, 1}, {64, 8200}};

at::Tensor random(at::IntArrayRef sizes, at::ScalarType type, std::uint64_t seed) {
  return at::randn(sizes, make_generator(seed), at::TensorOptions()).to(type);
}

template <typename Function>
void for_each_kernel(Function&& function) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    for (const auto [out, in] : kShapes) {
      const at::Tensor weight = random({out, in}, type, 1);
      for (const auto kernel : row_kernels(weight)) {
        SCOPED_TRACE(testing::Message() << c10::toString(type) << " [" << out << ", " << in << "] " << name_of(kernel));
        function(weight, kernel);
      }
    }
  }
}

TEST(RowProduct, IsTheProduct) {
  for_each_kernel([](const at::Tensor& weight, RowKernel kernel) {
    const auto in = weight.size(1);
    const at::Tensor x = random({3, 7, in}, weight.scalar_type(), 2);
    const at::Tensor exact = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
    // Sums of `in` products of about 1, each rounded to 2^-24 of its size (AMX keeps as much).
    const double tolerance = 4e-7 * static_cast<double>(in);
    const at::Tensor wide = row_product(x, weight, /*wide=*/true, kernel);
    EXPECT_EQ(wide.scalar_type(), at::kFloat);
    EXPECT_LT(largest_difference(wide, exact), tolerance);
    const at::Tensor narrow = row_product(x, weight, /*wide=*/false, kernel);
    EXPECT_EQ(narrow.scalar_type(), weight.scalar_type());
    EXPECT_TRUE(same_bits(narrow, wide.to(weight.scalar_type())));
  });
}

TEST(RowProduct, ARowsBitsDependOnThatRowAlone) {
  for_each_kernel([](const at::Tensor& weight, RowKernel kernel) {
    const at::Tensor x = random({150, weight.size(1)}, weight.scalar_type(), 3);
    const at::Tensor all = row_product(x, weight, /*wide=*/true, kernel);
    for (const std::int64_t count : {1, 2, 3, 15, 16, 17, 32, 33, 63, 100}) {
      for (const std::int64_t first : {std::int64_t{0}, std::int64_t{7}, 150 - count}) {
        const at::Tensor some = row_product(x.narrow(0, first, count), weight, true, kernel);
        EXPECT_TRUE(same_bits(some, all.narrow(0, first, count).contiguous())) << count << " from " << first;
      }
    }
  });
}

TEST(RowProduct, ARowThatIsNotANumberSpoilsNoOther) {
  for_each_kernel([](const at::Tensor& weight, RowKernel kernel) {
    at::Tensor x = random({20, weight.size(1)}, weight.scalar_type(), 4);
    const at::Tensor before = row_product(x, weight, true, kernel);
    x[5].fill_(std::numeric_limits<float>::quiet_NaN());
    const at::Tensor after = row_product(x, weight, true, kernel);
    EXPECT_TRUE(after[5].isnan().all().item<bool>());
    EXPECT_TRUE(same_bits(after.narrow(0, 6, 14).contiguous(), before.narrow(0, 6, 14).contiguous()));
    EXPECT_TRUE(same_bits(after.narrow(0, 0, 5).contiguous(), before.narrow(0, 0, 5).contiguous()));
  });
}

TEST(RowProduct, OfNoRowsIsEmpty) {
  const at::Tensor weight = at::ones({32, 32}, at::kBFloat16);
  EXPECT_EQ(row_product(at::empty({0, 32}, at::kBFloat16), weight).sizes(), at::IntArrayRef({0, 32}));
}

}  // namespace
}  // namespace desta::models
