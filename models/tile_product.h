// Products of float32 matrices that lie in a core's cache, such as those of attention within one head: without what a
// library's call costs, and of any part of a matrix. Private to this folder.
#pragma once

#include <cstdint>

namespace desta::models {

// Element (r, c) lies at at[r * row + c * column]: a matrix, or its transpose.
struct MatrixView {
  const float* at;
  std::int64_t row;
  std::int64_t column;
};

// out[r, c] = sum over k of left[r, k] right[k, c], or that much more with `add`.
//   left: [rows, depth]; right: [depth, columns], `right_row` numbers from row to row; out: [rows, columns],
//   `out_row` from row to row. Fastest where `columns` is a multiple of 16.
void tile_product(const MatrixView& left, const float* right, std::int64_t right_row, float* out, std::int64_t out_row,
                  std::int64_t rows, std::int64_t depth, std::int64_t columns, bool add);

}  // namespace desta::models
