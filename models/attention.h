// Scaled dot-product attention (Vaswani et al. 2017) over heads, with grouped queries.
#pragma once

#include <ATen/ATen.h>

namespace desta::models {

// softmax(q k^T / sqrt(head_dim) + bias) v; sums of the softmax are in float32 whatever the type.
//   q: [batch, heads, queries, head_dim]; k, v: [batch, kv_heads, keys, head_dim], heads a multiple
//   of kv_heads; bias: undefined, or [batch or 1, 1, queries, keys] float32.
// Returns [batch, queries, heads * head_dim]. Weights are dropped with `dropout_probability` when a
// generator is given.
[[nodiscard]] at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& bias, double dropout_probability = 0.0,
                                   const c10::optional<at::Generator>& generator = c10::nullopt);

// [batch, time, heads * head_dim] -> [batch, heads, time, head_dim], a view.
[[nodiscard]] at::Tensor split_heads(const at::Tensor& x, std::int64_t heads);

// 0 on and below the diagonal, -inf above: [1, 1, size, size] float32.
[[nodiscard]] at::Tensor causal_bias(std::int64_t size, at::Device device);

}  // namespace desta::models
