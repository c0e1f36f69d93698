// One layer's keys and values in pages as raw memory, and the attention of single rows that reads them. Private to this
// folder: PagedKvCache calls it for tensors, llama_rows.cpp for rows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "models/language_model.h"

namespace desta::models {

// Where each new row of a plan belongs.
struct PlannedRows {
  std::vector<const SequenceRows*> sequence;
  std::vector<std::int64_t> position;
  std::int64_t longest = 0;  // the most positions that a row sees

  explicit PlannedRows(const StepPlan& plan);
  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(position.size()); }
  [[nodiscard]] PageId page(std::size_t row) const {
    return sequence[row]->pages[static_cast<std::size_t>(position[row] / kPagePositions)];
  }
};

template <typename T>
struct PagedLayer {
  T* keys;    // [pages, kv_heads, head_dim, kPagePositions]
  T* values;  // [pages, kv_heads, kPagePositions, head_dim]
  std::int64_t kv_heads;
  std::int64_t head_dim;

  // Stores one row's key and value of head h: [head_dim] each.
  void write(const PlannedRows& rows, std::int64_t row, std::int64_t h, const T* key, const T* value) const;
};

// Memory of one thread.
struct AttentionScratch {
  std::vector<float> scores, asked, mixed;

  AttentionScratch(std::int64_t longest, std::int64_t head_dim);
};

// Of one row and KV head h, `group` queries: q [group, head_dim], `q_stride` apart -> out [group, head_dim]. The sums
// of a row are made in one order, whatever rows are beside it.
template <typename T>
void attend_row(const PagedLayer<T>& layer, const PlannedRows& rows, std::int64_t row, std::int64_t h,
                std::int64_t group, const T* q, std::int64_t q_stride, T* out, AttentionScratch& scratch);

}  // namespace desta::models
