#include "models/kv_cache.h"

#include <algorithm>
#include <limits>

#include "runtime/core/error.h"

namespace desta::models {

KvCache::KvCache(std::int64_t layers, std::int64_t batch, std::int64_t heads,
                 std::int64_t capacity, std::int64_t head_dim, at::TensorOptions options)
    : lengths_(static_cast<std::size_t>(batch), 0), capacity_(capacity) {
  for (std::int64_t i = 0; i < layers; ++i) {
    keys_.push_back(at::zeros({batch, heads, capacity, head_dim}, options));
    values_.push_back(at::zeros({batch, heads, capacity, head_dim}, options));
  }
}

std::int64_t KvCache::max_length() const {
  return lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
}

std::pair<at::Tensor, at::Tensor> KvCache::append(std::int64_t layer, const at::Tensor& key,
                                                  const at::Tensor& value) {
  const std::int64_t count = key.size(2);
  const std::int64_t total = max_length() + count;
  if (total > capacity_) {
    throw runtime::InternalError("the KV cache holds {} positions, {} are needed", capacity_,
                                 total);
  }
  at::Tensor& keys = keys_[static_cast<std::size_t>(layer)];
  at::Tensor& values = values_[static_cast<std::size_t>(layer)];
  const bool same_length =
      std::all_of(lengths_.begin(), lengths_.end(), [&](auto n) { return n == lengths_[0]; });
  if (same_length) {
    keys.narrow(2, lengths_[0], count).copy_(key);
    values.narrow(2, lengths_[0], count).copy_(value);
  } else {
    const at::Tensor index = new_positions(count)
                                 .to(key.device())
                                 .view({batch(), 1, count, 1})
                                 .expand(key.sizes());
    keys.scatter_(2, index, key);
    values.scatter_(2, index, value);
  }
  return {keys.narrow(2, 0, total), values.narrow(2, 0, total)};
}

void KvCache::advance(const std::vector<std::int64_t>& counts) {
  for (std::size_t i = 0; i < lengths_.size(); ++i) {
    lengths_[i] += counts[i];
  }
}

at::Tensor KvCache::new_positions(std::int64_t count) const {
  const at::Tensor starts = at::tensor(lengths_, at::kLong);
  return starts.unsqueeze(1) + at::arange(count, at::kLong).unsqueeze(0);
}

at::Tensor KvCache::attention_bias(std::int64_t count) const {
  const at::Tensor query = new_positions(count).unsqueeze(2);            // [batch, count, 1]
  const at::Tensor key = at::arange(max_length() + count, at::kLong);    // [total]
  const at::Tensor hidden = key.view({1, 1, -1}) > query;                // [batch, count, total]
  return at::zeros(hidden.sizes(), at::kFloat)
      .masked_fill_(hidden, -std::numeric_limits<float>::infinity())
      .unsqueeze(1);
}

void KvCache::keep_rows(const std::vector<std::int64_t>& rows) {
  const at::Tensor index = at::tensor(rows, at::kLong);
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    keys_[i] = keys_[i].index_select(0, index.to(keys_[i].device()));
    values_[i] = values_[i].index_select(0, index.to(values_[i].device()));
  }
  std::vector<std::int64_t> lengths;
  for (const auto row : rows) {
    lengths.push_back(lengths_[static_cast<std::size_t>(row)]);
  }
  lengths_ = std::move(lengths);
}

}  // namespace desta::models
