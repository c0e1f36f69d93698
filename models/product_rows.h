// How many rows a matrix product is fast with.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace desta::models {

// Rows to add to `rows` so that products with them are fast; 0 where it makes no difference. oneDNN 2.6, which
// LibTorch 1.13 takes for bfloat16 on a CPU, cuts rows into equal blocks of at most 64 and leaves AMX's tiles
// alone where those come out at 53 to 62: 620 rows take three to six times as long as 600 or 640. Measured for
// 64 to 1300 rows and widths of 384 to 8192, all multiples of 32 are fast but those of 29 x 32 and 31 x 32.
[[nodiscard]] inline std::int64_t missing_rows(std::int64_t rows, const at::TensorOptions& options) {
  if (!options.device().is_cpu() || options.dtype() != at::kBFloat16) {
    return 0;
  }
  std::int64_t blocks = (rows + 31) / 32;
  while (blocks % 29 == 0 || blocks % 31 == 0) {
    ++blocks;
  }
  return 32 * blocks - rows;
}

// x [rows, width] with as many rows of zeros behind it.
[[nodiscard]] inline at::Tensor with_missing_rows(const at::Tensor& x) {
  const auto missing = missing_rows(x.size(0), x.options());
  return missing == 0 ? x : at::constant_pad_nd(x, {0, 0, 0, missing});
}

}  // namespace desta::models
