// Keys and values in pages of kPagePositions positions, and the attention that reads them.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "models/language_model.h"
#include "models/page_attention.h"

namespace desta::models {

class PagedKvCache final : public KvPages {
 public:
  // Room for `pages` pages in each of `layers` layers. Memory is touched only as pages are written.
  PagedKvCache(std::int64_t layers, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t pages,
               at::TensorOptions options);

  // Copies whole pages, in every layer.
  void copy(const std::vector<StepPlan::Copy>& copies);

  // Stores k and v of the plan's new positions in one layer: [1, kv_heads, rows, head_dim], any strides.
  void write(std::int64_t layer, const at::Tensor& k, const at::Tensor& v, const StepPlan& plan);

  // softmax(q k^T / sqrt(head_dim)) v, each new position over all of its sequence up to itself; softmax and sums
  // in float32 whatever the type. q: [1, heads, rows, head_dim], heads a multiple of kv_heads.
  // Returns [1, rows, heads * head_dim]. On a CPU, in float32 and bfloat16, a row comes out the same to the bit
  // whatever other rows are in the plan and however its sequence was cut into steps and pages.
  [[nodiscard]] at::Tensor attend(std::int64_t layer, const at::Tensor& q, const StepPlan& plan) const;

  // A layer on a CPU in T, float32 or bfloat16, for those that go through rows by themselves.
  template <typename T>
  [[nodiscard]] PagedLayer<T> memory(std::int64_t layer) const;

 private:
  [[nodiscard]] bool has_kernel() const;

  // Of each layer. Keys stand across, so that a page's scores are one vector.
  std::vector<at::Tensor> keys_;    // [pages, kv_heads, head_dim, kPagePositions]
  std::vector<at::Tensor> values_;  // [pages, kv_heads, kPagePositions, head_dim]
};

}  // namespace desta::models
