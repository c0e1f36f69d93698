#include "models/page_attention.h"

#include <algorithm>
#include <cmath>

#include "models/page_kernels.h"
#include "models/vector_math.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

constexpr std::int64_t kLanes = kPagePositions;

// Scores become weights that add up to `total`, which is returned. Behind `count` there is room up to a multiple of
// kLanes.
DESTA_FOR_EACH_MACHINE float weigh(float* scores, std::int64_t count) {
  const float largest = largest_of(scores, count);
  const auto padded = pages_for(count) * kLanes;
  // What lies behind the last position counts for nothing.
  std::fill(scores + count, scores + padded, largest - 1e4F);
  float lanes[kLanes] = {};
  for (std::int64_t begin = 0; begin < padded; begin += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      scores[begin + lane] = exp_of(scores[begin + lane] - largest);
      lanes[lane] += scores[begin + lane];
    }
  }
  float total = 0;
  for (const float lane : lanes) {
    total += lane;
  }
  return total;
}

}  // namespace

PlannedRows::PlannedRows(const StepPlan& plan) {
  for (const auto& rows : plan.sequences) {
    for (std::int64_t i = 0; i < rows.count; ++i) {
      sequence.push_back(&rows);
      position.push_back(rows.first + i);
    }
    longest = std::max(longest, rows.first + rows.count);
  }
}

template <typename T>
void PagedLayer<T>::write(const PlannedRows& rows, std::int64_t row, std::int64_t h, const T* key,
                          const T* value) const {
  const auto r = static_cast<std::size_t>(row);
  const auto slot = rows.position[r] % kLanes;
  const auto place = (rows.page(r) * kv_heads + h) * head_dim * kLanes;
  T* across = keys + place + slot;
  for (std::int64_t d = 0; d < head_dim; ++d) {
    across[d * kLanes] = key[d];
  }
  std::copy(value, value + head_dim, values + place + slot * head_dim);
}

AttentionScratch::AttentionScratch(std::int64_t longest, std::int64_t head_dim)
    : scores(static_cast<std::size_t>(pages_for(longest) * kLanes)),
      asked(static_cast<std::size_t>(head_dim)),
      mixed(static_cast<std::size_t>(head_dim)) {}

template <typename T>
void attend_row(const PagedLayer<T>& layer, const PlannedRows& rows, std::int64_t row, std::int64_t h,
                std::int64_t group, const T* q, std::int64_t q_stride, T* out, AttentionScratch& scratch) {
  const auto head_dim = layer.head_dim;
  const auto r = static_cast<std::size_t>(row);
  const HeadPages<T> keys{layer.keys + h * head_dim * kLanes, layer.kv_heads * head_dim * kLanes,
                          rows.sequence[r]->pages.data(), rows.position[r] + 1, head_dim};
  HeadPages<T> values = keys;
  values.first = layer.values + h * head_dim * kLanes;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  for (std::int64_t g = 0; g < group; ++g, q += q_stride, out += head_dim) {
    std::transform(q, q + head_dim, scratch.asked.begin(), [&](T x) { return static_cast<float>(x) * scale; });
    score_pages(scratch.asked.data(), keys, scratch.scores.data());
    const float share = 1.0F / weigh(scratch.scores.data(), keys.count);
    mix_pages(scratch.scores.data(), values, scratch.mixed.data());
    std::ranges::transform(scratch.mixed, out, [&](float x) { return T(x * share); });
  }
}

template struct PagedLayer<float>;
template struct PagedLayer<at::BFloat16>;
template void attend_row(const PagedLayer<float>&, const PlannedRows&, std::int64_t, std::int64_t, std::int64_t,
                         const float*, std::int64_t, float*, AttentionScratch&);
template void attend_row(const PagedLayer<at::BFloat16>&, const PlannedRows&, std::int64_t, std::int64_t, std::int64_t,
                         const at::BFloat16*, std::int64_t, at::BFloat16*, AttentionScratch&);

}  // namespace desta::models
