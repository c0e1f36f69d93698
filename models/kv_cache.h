// Keys and values of positions already seen, for a batch whose rows may have different lengths.
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

  [[nodiscard]] std::int64_t batch() const { return static_cast<std::int64_t>(lengths_.size()); }
  [[nodiscard]] std::int64_t capacity() const { return capacity_; }
  // Positions held in each row.
  [[nodiscard]] const std::vector<std::int64_t>& lengths() const { return lengths_; }
  [[nodiscard]] std::int64_t max_length() const;

  // Stores `key` and `value` [batch, heads, new, head_dim] of one layer behind each row's own
  // length and returns views of all that attention may read: [batch, heads, max_length() + new,
  // head_dim]. What lies behind a row's own length is masked by attention_bias().
  std::pair<at::Tensor, at::Tensor> append(std::int64_t layer, const at::Tensor& key,
                                           const at::Tensor& value);
  // Ends a forward pass: row b has grown by counts[b] positions.
  void advance(const std::vector<std::int64_t>& counts);

  // Absolute positions of `count` new tokens: [batch, count], int64.
  [[nodiscard]] at::Tensor new_positions(std::int64_t count) const;
  // 0 where a new token may look, -inf elsewhere: [batch, 1, count, max_length() + count], float32.
  [[nodiscard]] at::Tensor attention_bias(std::int64_t count) const;

  // Keeps these rows, in this order (a finished row leaves the batch).
  void keep_rows(const std::vector<std::int64_t>& rows);

 private:
  std::vector<at::Tensor> keys_;
  std::vector<at::Tensor> values_;
  std::vector<std::int64_t> lengths_;
  std::int64_t capacity_;
};

}  // namespace desta::models
