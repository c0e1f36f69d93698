#include "models/paged_kv_cache.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "models/attention.h"
#include "models/page_kernels.h"
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
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
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
    std::vector<float> scores(static_cast<std::size_t>(pages_for(longest) * kLanes));
    std::vector<float> asked(static_cast<std::size_t>(head_dim));
    std::vector<float> mixed(static_cast<std::size_t>(head_dim));
    for (auto i = begin; i < end; ++i) {
      const auto row = i / kv_heads;
      const auto h = i % kv_heads;
      const auto r = static_cast<std::size_t>(row);
      HeadPages<T> head{keys.data_ptr<T>() + h * head_dim * kLanes, kv_heads * head_dim * kLanes,
                        rows.sequence[r]->pages.data(), rows.position[r] + 1, head_dim};
      HeadPages<T> value_head = head;
      value_head.first = values.data_ptr<T>() + h * head_dim * kLanes;
      for (std::int64_t g = h * group; g < (h + 1) * group; ++g) {
        const T* from = q_data + g * q.stride(1) + row * q.stride(2);
        std::transform(from, from + head_dim, asked.begin(), [&](T x) { return static_cast<float>(x) * scale; });
        score_pages(asked.data(), head, scores.data());
        const float share = 1.0F / weigh(scores.data(), head.count);
        mix_pages(scores.data(), value_head, mixed.data());
        std::ranges::transform(mixed, out_data + (row * heads + g) * head_dim, [&](float x) { return T(x * share); });
      }
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
