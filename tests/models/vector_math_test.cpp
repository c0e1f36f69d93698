#include "models/vector_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace desta::models {
namespace {

// Compiled with the flags of the kernels that use it.
TEST(VectorMath, ExponentialIsAsExactAsItSays) {
  constexpr std::size_t kCount = 175'000;
  std::vector<float> inputs(kCount);
  for (std::size_t i = 0; i < kCount; ++i) {
    inputs[i] = static_cast<float>(-87.0 + 0.001 * static_cast<double>(i));
  }
  std::vector<float> values(kCount);
  std::transform(inputs.begin(), inputs.end(), values.begin(), exp_of);
  double worst = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const double exact = std::exp(static_cast<double>(inputs[i]));
    worst = std::max(worst, std::abs(static_cast<double>(values[i]) - exact) / exact);
  }
  EXPECT_LT(worst, 4e-6);
}

TEST(VectorMath, FarTailsStayFinite) {
  EXPECT_GT(exp_of(-1e30F), 0.0F);
  EXPECT_LT(exp_of(-1e30F), 1e-37F);
  EXPECT_TRUE(std::isfinite(exp_of(1e30F)));
  EXPECT_TRUE(std::isnan(exp_of(std::nanf(""))));
}

}  // namespace
}  // namespace desta::models
