// The inner loops of row_product(). Private to this folder.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace desta::models {

// Dot products of rows with four outputs' weights: each in sixteen partial sums, by the input's place modulo 16,
// which are added up in one order at the end. x: [rows, in]; weight: [4, in]; out: [rows, 4] float32.
inline constexpr std::int64_t kAvx512Panel = 4;
[[nodiscard]] bool has_avx512();
void avx512_dots(const float* x, std::int64_t rows, const float* weight, std::int64_t in, float* out);
// `in` must be a multiple of 32.
void avx512_dots(const at::BFloat16* x, std::int64_t rows, const at::BFloat16* weight, std::int64_t in,
                 float* out);
// The same by AVX-512's own dot products of bfloat16 pairs: sums of another order, a third of the instructions.
[[nodiscard]] bool has_avx512_bf16();
void avx512_bf16_dots(const at::BFloat16* x, std::int64_t rows, const at::BFloat16* weight, std::int64_t in,
                      float* out);

// Sums of 32 outputs for all rows. Rows go in groups of 16, packed so that the pairs of inputs of a group that meet
// the same weights are next to each other, the last group filled with zeros: x [groups, in / 2, 16, 2]; weight:
// [32, in]; out: [32, groups * 16]. `in` must be a multiple of 32.
inline constexpr std::int64_t kRowGroup = 16;
inline constexpr std::int64_t kAmxPanel = 32;
[[nodiscard]] bool has_amx();
// Sets up this thread's tiles, and gives them back when it goes.
class AmxTiles {
 public:
  AmxTiles();
  ~AmxTiles();
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};
void amx_sums(const at::BFloat16* x, std::int64_t groups, const at::BFloat16* weight, std::int64_t in, float* out);

}  // namespace desta::models
