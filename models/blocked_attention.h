// Attention over a whole recording, without its scores in memory: on a CPU, a block of queries at a time,
// whose scores stay in the core's cache.
#pragma once

#include <ATen/ATen.h>

namespace desta::models {

// softmax(q k^T / sqrt(head_dim)) v as attention() has it, with neither bias nor dropout nor gradient; sums
// of the softmax are in float32. q, k, v: [batch, heads, time, head_dim], any strides, of one type: float32
// or bfloat16, on a CPU. Returns [batch, queries, heads * head_dim]. A head's result does not depend on what
// else is in the batch.
[[nodiscard]] at::Tensor blocked_attention(const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v);

// Whether blocked_attention() can stand in for attention(): and no gradient is asked for.
[[nodiscard]] bool can_block(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace desta::models
