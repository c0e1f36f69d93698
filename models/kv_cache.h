// Keys and values of positions already seen, for a batch whose rows have one length.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace desta::models {

class KvCache {
 public:
  // Room for `capacity` positions in each of `batch` rows, `layers` layers.
  KvCache(std::int64_t layers, std::int64_t batch, std::int64_t heads, std::int64_t capacity,
          std::int64_t head_dim, at::TensorOptions options);

  // Positions held.
  [[nodiscard]] std::int64_t length() const { return length_; }

  // Stores `key` and `value` [batch, heads, new, head_dim] of one layer behind what it holds and returns
  // views of all of it: [batch, heads, length() + new, head_dim].
  std::pair<at::Tensor, at::Tensor> append(std::int64_t layer, const at::Tensor& key,
                                           const at::Tensor& value);
  // Ends a forward pass of `count` new positions.
  void advance(std::int64_t count) { length_ += count; }

  // Absolute positions of `count` new tokens: [1, count], int64.
  [[nodiscard]] at::Tensor new_positions(std::int64_t count) const;
  // 0 where a new token may look, -inf elsewhere: [1, 1, count, length() + count], float32.
  [[nodiscard]] at::Tensor attention_bias(std::int64_t count) const;

 private:
  std::vector<at::Tensor> keys_;
  std::vector<at::Tensor> values_;
  std::int64_t capacity_;
  std::int64_t length_ = 0;
};

}  // namespace desta::models
