#include "models/kv_cache.h"

#include "models/attention.h"
#include "runtime/core/error.h"

namespace desta::models {

KvCache::KvCache(std::int64_t layers, std::int64_t batch, std::int64_t heads,
                 std::int64_t capacity, std::int64_t head_dim, at::TensorOptions options)
    : capacity_(capacity) {
  for (std::int64_t i = 0; i < layers; ++i) {
    keys_.push_back(at::zeros({batch, heads, capacity, head_dim}, options));
    values_.push_back(at::zeros({batch, heads, capacity, head_dim}, options));
  }
}

std::pair<at::Tensor, at::Tensor> KvCache::append(std::int64_t layer, const at::Tensor& key,
                                                  const at::Tensor& value) {
  const std::int64_t count = key.size(2);
  const std::int64_t total = length_ + count;
  if (total > capacity_) {
    throw runtime::InternalError("the KV cache holds {} positions, {} are needed", capacity_,
                                 total);
  }
  at::Tensor& keys = keys_[static_cast<std::size_t>(layer)];
  at::Tensor& values = values_[static_cast<std::size_t>(layer)];
  keys.narrow(2, length_, count).copy_(key);
  values.narrow(2, length_, count).copy_(value);
  return {keys.narrow(2, 0, total), values.narrow(2, 0, total)};
}

at::Tensor KvCache::new_positions(std::int64_t count) const {
  return at::arange(length_, length_ + count, at::TensorOptions(at::kLong)).unsqueeze(0);
}

at::Tensor KvCache::attention_bias(std::int64_t count) const {
  return causal_bias(length_ + count, at::kCPU).narrow(2, length_, count);
}

}  // namespace desta::models
