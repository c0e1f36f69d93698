#include "models/paged_kv_cache.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "models/attention.h"
#include "models/vector_math.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;

constexpr std::int64_t kLanes = kPagePositions;

// Where each new row belongs.
struct Rows {
  std::vector<const SequenceRows*> sequence;
  std::vector<std::int64_t> position;

  explicit Rows(const StepPlan& plan) {
    for (const auto& rows : plan.sequences) {
      for (std::int64_t i = 0; i < rows.count; ++i) {
        sequence.push_back(&rows);
        position.push_back(rows.first + i);
      }
    }
  }
  [[nodiscard]] PageId page(std::size_t row) const {
    return sequence[row]->pages[static_cast<std::size_t>(position[row] / kLanes)];
  }
};

// What one row's attention in one layer needs. Numbers of a head of q are next to each other.
template <typename T>
struct RowTask {
  const T* q;              // of the first head of the group
  std::int64_t q_stride;   // from head to head
  const T* keys;           // of this KV head in page 0
  const T* values;
  std::int64_t page_stride;
  const PageId* pages;
  std::int64_t count;  // positions that it sees
  std::int64_t group;  // heads that read these keys
  std::int64_t head_dim;
  float scale;
  T* out;         // [group, head_dim]
  float* scores;  // scratch: count rounded up to kLanes, and head_dim
};

template <typename T>
[[gnu::always_inline]] inline void attend_row(const RowTask<T>& task) {
  const std::int64_t pages = pages_for(task.count);
  float* sums = task.scores + pages * kLanes;
  for (std::int64_t g = 0; g < task.group; ++g) {
    const T* q = task.q + g * task.q_stride;
    for (std::int64_t p = 0; p < pages; ++p) {
      const T* key = task.keys + task.pages[p] * task.page_stride;
      float dots[kLanes] = {};
      for (std::int64_t d = 0; d < task.head_dim; ++d, key += kLanes) {
        const float number = static_cast<float>(q[d]) * task.scale;
        for (std::int64_t lane = 0; lane < kLanes; ++lane) {
          dots[lane] += number * static_cast<float>(key[lane]);
        }
      }
      std::copy(dots, dots + kLanes, task.scores + p * kLanes);
    }
    const float largest = largest_of(task.scores, task.count);
    // What lies behind the last position counts for nothing.
    std::fill(task.scores + task.count, sums, largest - 1e4F);
    float lanes[kLanes] = {};
    for (std::int64_t p = 0; p < pages; ++p) {
      float* score = task.scores + p * kLanes;
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        score[lane] = exp_of(score[lane] - largest);
        lanes[lane] += score[lane];
      }
    }
    float total = 0;
    for (const float lane : lanes) {
      total += lane;
    }
    std::fill(sums, sums + task.head_dim, 0.0F);
    for (std::int64_t begin = 0; begin < task.count; begin += kLanes) {
      const T* value = task.values + task.pages[begin / kLanes] * task.page_stride;
      const std::int64_t here = std::min(kLanes, task.count - begin);
      for (std::int64_t i = 0; i < here; ++i, value += task.head_dim) {
        const float weight = task.scores[begin + i];
        for (std::int64_t d = 0; d < task.head_dim; ++d) {
          sums[d] += weight * static_cast<float>(value[d]);
        }
      }
    }
    const float share = 1.0F / total;
    for (std::int64_t d = 0; d < task.head_dim; ++d) {
      task.out[g * task.head_dim + d] = sums[d] * share;
    }
  }
}

DESTA_FOR_EACH_MACHINE void attend_one(const RowTask<float>& task) { attend_row(task); }
DESTA_FOR_EACH_MACHINE void attend_one(const RowTask<at::BFloat16>& task) { attend_row(task); }

template <typename T>
void write_pages(Tensor& keys, Tensor& values, const Tensor& k, const Tensor& v, const Rows& rows) {
  const auto heads = k.size(1);
  const auto head_dim = k.size(3);
  const auto head_stride = head_dim * kLanes;
  for (std::size_t r = 0; r < rows.position.size(); ++r) {
    const auto row = static_cast<std::int64_t>(r);
    const auto slot = rows.position[r] % kLanes;
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto place = (rows.page(r) * heads + h) * head_stride;
      const T* key = k.data_ptr<T>() + h * k.stride(1) + row * k.stride(2);
      const T* value = v.data_ptr<T>() + h * v.stride(1) + row * v.stride(2);
      T* across = keys.data_ptr<T>() + place + slot;
      for (std::int64_t d = 0; d < head_dim; ++d) {
        across[d * kLanes] = key[d];
      }
      std::copy(value, value + head_dim, values.data_ptr<T>() + place + slot * head_dim);
    }
  }
}

template <typename T>
Tensor attend_pages(const Tensor& keys, const Tensor& values, const Tensor& q, const Rows& rows) {
  const auto heads = q.size(1);
  const auto total = q.size(2);
  const auto head_dim = q.size(3);
  const auto kv_heads = keys.size(1);
  const auto group = heads / kv_heads;
  Tensor out = at::empty({1, total, heads * head_dim}, q.options().memory_format(c10::nullopt));
  const T* q_data = q.data_ptr<T>();
  T* out_data = out.data_ptr<T>();
  std::int64_t longest = 0;
  std::int64_t work = 1;
  for (const auto position : rows.position) {
    longest = std::max(longest, position + 1);
    work += position + 1;
  }
  // Some 2^17 multiplications are worth a thread.
  const auto grain = std::max<std::int64_t>(1, (total << 17) / (work * group * head_dim));
  at::parallel_for(0, total * kv_heads, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scratch(static_cast<std::size_t>(pages_for(longest) * kLanes + head_dim));
    for (auto i = begin; i < end; ++i) {
      const auto row = i / kv_heads;
      const auto h = i % kv_heads;
      const auto r = static_cast<std::size_t>(row);
      attend_one(RowTask<T>{.q = q_data + h * group * q.stride(1) + row * q.stride(2),
                            .q_stride = q.stride(1),
                            .keys = keys.data_ptr<T>() + h * head_dim * kLanes,
                            .values = values.data_ptr<T>() + h * head_dim * kLanes,
                            .page_stride = kv_heads * head_dim * kLanes,
                            .pages = rows.sequence[r]->pages.data(),
                            .count = rows.position[r] + 1,
                            .group = group,
                            .head_dim = head_dim,
                            .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
                            .out = out_data + (row * heads + h * group) * head_dim,
                            .scores = scratch.data()});
    }
  });
  return out;
}

Tensor rows_in_front(const Tensor& x) { return x[0].transpose(0, 1); }  // [rows, heads, head_dim]

}  // namespace

PagedKvCache::PagedKvCache(std::int64_t layers, std::int64_t kv_heads, std::int64_t head_dim,
                           std::int64_t pages, at::TensorOptions options) {
  for (std::int64_t i = 0; i < layers; ++i) {
    keys_.push_back(at::empty({pages, kv_heads, head_dim, kPagePositions}, options));
    values_.push_back(at::empty({pages, kv_heads, kPagePositions, head_dim}, options));
  }
}

bool PagedKvCache::has_kernel() const {
  const Tensor& keys = keys_.front();
  return keys.device().is_cpu() &&
         (keys.scalar_type() == at::kFloat || keys.scalar_type() == at::kBFloat16);
}

void PagedKvCache::copy(const std::vector<StepPlan::Copy>& copies) {
  for (const auto& copy : copies) {
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      keys_[i][copy.to].copy_(keys_[i][copy.from]);
      values_[i][copy.to].copy_(values_[i][copy.from]);
    }
  }
}

void PagedKvCache::write(std::int64_t layer, const Tensor& k, const Tensor& v, const StepPlan& plan) {
  Tensor& keys = keys_[static_cast<std::size_t>(layer)];
  Tensor& values = values_[static_cast<std::size_t>(layer)];
  const Rows rows(plan);
  if (has_kernel()) {
    keys.scalar_type() == at::kFloat ? write_pages<float>(keys, values, k, v, rows)
                                     : write_pages<at::BFloat16>(keys, values, k, v, rows);
    return;
  }
  std::vector<std::int64_t> pages;
  std::vector<std::int64_t> slots;
  for (std::size_t r = 0; r < rows.position.size(); ++r) {
    pages.push_back(rows.page(r));
    slots.push_back(rows.position[r] % kPagePositions);
  }
  using at::indexing::Slice;
  const Tensor page = at::tensor(pages, at::kLong).to(keys.device());
  const Tensor slot = at::tensor(slots, at::kLong).to(keys.device());
  keys.index_put_({page, Slice(), Slice(), slot}, rows_in_front(k));
  values.index_put_({page, Slice(), slot, Slice()}, rows_in_front(v));
}

Tensor PagedKvCache::attend(std::int64_t layer, const Tensor& q, const StepPlan& plan) const {
  const Tensor& keys = keys_[static_cast<std::size_t>(layer)];
  const Tensor& values = values_[static_cast<std::size_t>(layer)];
  if (has_kernel()) {
    const Rows rows(plan);
    return keys.scalar_type() == at::kFloat ? attend_pages<float>(keys, values, q, rows)
                                            : attend_pages<at::BFloat16>(keys, values, q, rows);
  }
  std::vector<Tensor> parts;
  std::int64_t begin = 0;
  for (const auto& rows : plan.sequences) {
    const auto total = rows.first + rows.count;
    const std::vector<std::int64_t> numbers(rows.pages.begin(), rows.pages.begin() + pages_for(total));
    const Tensor pages = at::tensor(numbers, at::kLong).to(keys.device());
    const Tensor k = keys.index_select(0, pages).permute({1, 0, 3, 2}).flatten(1, 2).narrow(1, 0, total);
    const Tensor v = values.index_select(0, pages).permute({1, 0, 2, 3}).flatten(1, 2).narrow(1, 0, total);
    const Tensor bias = causal_bias(total, q.device()).narrow(2, rows.first, rows.count);
    parts.push_back(attention(q.narrow(2, begin, rows.count), k.unsqueeze(0), v.unsqueeze(0), bias));
    begin += rows.count;
  }
  return at::cat(parts, 1);
}

}  // namespace desta::models
