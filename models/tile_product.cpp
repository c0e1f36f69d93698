#include "models/tile_product.h"

#include <cstring>

#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

constexpr std::int64_t kLanes = 16;
using Lanes [[gnu::vector_size(kLanes * sizeof(float))]] = float;

// A tile of 6 rows and 4 registers of columns has 24 sums, and 29 of AVX-512's 32 registers in all.
constexpr std::int64_t kTileRows = 6;
constexpr std::int64_t kTileLanes = 4;

struct Product {
  MatrixView left;
  const float* right;
  std::int64_t right_row;
  float* out;
  std::int64_t out_row;
  std::int64_t depth;
  bool add;
};

[[gnu::always_inline]] inline void load(Lanes& to, const float* from) { std::memcpy(&to, from, sizeof(to)); }

template <std::int64_t kRows, std::int64_t kWide>
[[gnu::always_inline]] inline void tile(const Product& p, std::int64_t row, std::int64_t column) {
  float* const out = p.out + row * p.out_row + column;
  const float* left = p.left.at + row * p.left.row;
  const float* right = p.right + column;
  Lanes sums[kRows][kWide] = {};
  if (p.add) {
#pragma GCC unroll 6
    for (std::int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (std::int64_t w = 0; w < kWide; ++w) {
        load(sums[r][w], out + r * p.out_row + w * kLanes);
      }
    }
  }
  for (std::int64_t k = 0; k < p.depth; ++k, left += p.left.column, right += p.right_row) {
    Lanes here[kWide];
#pragma GCC unroll 4
    for (std::int64_t w = 0; w < kWide; ++w) {
      load(here[w], right + w * kLanes);
    }
#pragma GCC unroll 6
    for (std::int64_t r = 0; r < kRows; ++r) {
      const float factor = left[r * p.left.row];
#pragma GCC unroll 4
      for (std::int64_t w = 0; w < kWide; ++w) {
        sums[r][w] += factor * here[w];
      }
    }
  }
#pragma GCC unroll 6
  for (std::int64_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (std::int64_t w = 0; w < kWide; ++w) {
      std::memcpy(out + r * p.out_row + w * kLanes, &sums[r][w], sizeof(Lanes));
    }
  }
}

template <std::int64_t kWide>
[[gnu::always_inline]] inline void panel(const Product& p, std::int64_t rows, std::int64_t column) {
  std::int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) {
    tile<kTileRows, kWide>(p, row, column);
  }
  if (row + kTileRows / 2 <= rows) {
    tile<kTileRows / 2, kWide>(p, row, column);
    row += kTileRows / 2;
  }
  for (; row < rows; ++row) {
    tile<1, kWide>(p, row, column);
  }
}

// Columns that fill no register.
[[gnu::always_inline]] inline void narrow_panel(const Product& p, std::int64_t rows, std::int64_t column,
                                                std::int64_t count) {
  for (std::int64_t row = 0; row < rows; ++row) {
    float* const out = p.out + row * p.out_row + column;
    if (!p.add) {
      std::memset(out, 0, static_cast<std::size_t>(count) * sizeof(float));
    }
    for (std::int64_t k = 0; k < p.depth; ++k) {
      const float factor = p.left.at[row * p.left.row + k * p.left.column];
      const float* const right = p.right + k * p.right_row + column;
      for (std::int64_t c = 0; c < count; ++c) {
        out[c] += factor * right[c];
      }
    }
  }
}

}  // namespace

DESTA_FOR_EACH_MACHINE void tile_product(const MatrixView& left, const float* right, std::int64_t right_row, float* out,
                                         std::int64_t out_row, std::int64_t rows, std::int64_t depth,
                                         std::int64_t columns, bool add) {
  const Product p{left, right, right_row, out, out_row, depth, add};
  std::int64_t column = 0;
  for (; column + kTileLanes * kLanes <= columns; column += kTileLanes * kLanes) {
    panel<kTileLanes>(p, rows, column);
  }
  if (column + 2 * kLanes <= columns) {
    panel<2>(p, rows, column);
    column += 2 * kLanes;
  }
  if (column + kLanes <= columns) {
    panel<1>(p, rows, column);
    column += kLanes;
  }
  if (column < columns) {
    narrow_panel(p, rows, column, columns - column);
  }
}

}  // namespace desta::models
