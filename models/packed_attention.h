// Causal attention of packed sequences: each sees itself alone, and a beginning that all share.
#pragma once

#include <ATen/ATen.h>

#include "models/packing.h"

namespace desta::models {

// Keys and values [kv_heads, length, head_dim] that every sequence sees in front of its own; constants
// without a gradient. Undefined: there are none.
struct SharedKeys {
  at::Tensor keys;
  at::Tensor values;

  [[nodiscard]] std::int64_t length() const { return keys.defined() ? keys.size(1) : 0; }
};

// softmax(q k^T / sqrt(head_dim)) v within each sequence, on and below the diagonal, softmax and its sums
// in float32 whatever the type (on a GPU the products before and behind it are in the tensors' own).
//   q: [1, heads, total, head_dim]; k, v: [1, kv_heads, total, head_dim], heads a multiple of kv_heads,
//   any strides.
// Returns [1, total, heads * head_dim]. For the backward pass q, k and v are kept and nothing else: the
// weights, [heads, length, length] for each sequence, are made once more.
[[nodiscard]] at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& v, const Packing& packing,
                                          const SharedKeys& shared = {});

}  // namespace desta::models
