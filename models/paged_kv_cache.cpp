#include "models/paged_kv_cache.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "models/attention.h"

namespace desta::models {
namespace {

using at::Tensor;

template <typename T>
void write_pages(const PagedLayer<T>& layer, const Tensor& k, const Tensor& v, const PlannedRows& rows) {
  for (std::int64_t row = 0; row < rows.count(); ++row) {
    for (std::int64_t h = 0; h < layer.kv_heads; ++h) {
      layer.write(rows, row, h, k.data_ptr<T>() + h * k.stride(1) + row * k.stride(2),
                  v.data_ptr<T>() + h * v.stride(1) + row * v.stride(2));
    }
  }
}

template <typename T>
Tensor attend_pages(const PagedLayer<T>& layer, const Tensor& q, const PlannedRows& rows) {
  const auto heads = q.size(1);
  const auto total = q.size(2);
  const auto head_dim = q.size(3);
  const auto group = heads / layer.kv_heads;
  Tensor out = at::empty({1, total, heads * head_dim}, q.options().memory_format(c10::nullopt));
  const T* q_data = q.data_ptr<T>();
  T* out_data = out.data_ptr<T>();
  std::int64_t work = 1;
  for (const auto position : rows.position) {
    work += position + 1;
  }
  // Some 2^17 multiplications are worth a thread.
  const auto grain = std::max<std::int64_t>(1, (total << 17) / (work * group * head_dim));
  at::parallel_for(0, total * layer.kv_heads, grain, [&](std::int64_t begin, std::int64_t end) {
    AttentionScratch scratch(rows.longest, head_dim);
    for (auto i = begin; i < end; ++i) {
      const auto row = i / layer.kv_heads;
      const auto h = i % layer.kv_heads;
      attend_row(layer, rows, row, h, group, q_data + h * group * q.stride(1) + row * q.stride(2), q.stride(1),
                 out_data + (row * heads + h * group) * head_dim, scratch);
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

template <typename T>
PagedLayer<T> PagedKvCache::memory(std::int64_t layer) const {
  const Tensor& keys = keys_[static_cast<std::size_t>(layer)];
  return {keys.data_ptr<T>(), values_[static_cast<std::size_t>(layer)].data_ptr<T>(), keys.size(1), keys.size(2)};
}
template PagedLayer<float> PagedKvCache::memory(std::int64_t) const;
template PagedLayer<at::BFloat16> PagedKvCache::memory(std::int64_t) const;

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
  const PlannedRows rows(plan);
  Tensor& keys = keys_[static_cast<std::size_t>(layer)];
  Tensor& values = values_[static_cast<std::size_t>(layer)];
  if (has_kernel()) {
    keys.scalar_type() == at::kFloat ? write_pages(memory<float>(layer), k, v, rows)
                                     : write_pages(memory<at::BFloat16>(layer), k, v, rows);
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
    const PlannedRows rows(plan);
    return keys.scalar_type() == at::kFloat ? attend_pages(memory<float>(layer), q, rows)
                                            : attend_pages(memory<at::BFloat16>(layer), q, rows);
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
