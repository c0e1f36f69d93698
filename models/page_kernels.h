// The inner loops of attend_row() (page_attention.h). Private to this folder.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "models/page_pool.h"

namespace desta::models {

// The pages of one sequence, as one KV head has them.
template <typename T>
struct HeadPages {
  const T* first;            // of page 0: keys [head_dim, kPagePositions] or values [kPagePositions, head_dim]
  std::int64_t page_stride;  // from page to page
  const PageId* pages;
  std::int64_t count;  // positions
  std::int64_t head_dim;

  [[nodiscard]] const T* operator[](std::int64_t page) const { return first + pages[page] * page_stride; }
};

// scores[p] = q . key of position p, for all positions of the pages up to the last that counts: q [head_dim],
// scores [pages_for(count) * kPagePositions].
void score_pages(const float* q, const HeadPages<float>& keys, float* scores);
void score_pages(const float* q, const HeadPages<at::BFloat16>& keys, float* scores);

// out = the sum over positions p of weights[p] times the value of p, in the order of positions: out [head_dim].
void mix_pages(const float* weights, const HeadPages<float>& values, float* out);
void mix_pages(const float* weights, const HeadPages<at::BFloat16>& values, float* out);

}  // namespace desta::models
