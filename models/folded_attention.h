// Attention of a few learned queries over many constant states, such as a frozen encoder's: the projections of keys
// and values are folded into the queries' side, so no key and no value is ever made.
#pragma once

#include <ATen/ATen.h>

namespace desta::models {

// A key's bias adds the same number to all scores of a query, which softmax takes away: it is not read, and its
// gradient is zero.
struct KeyAndValue {
  at::Tensor key_weight;    // [width, width_of_states]; of its rows, width / heads belong to each head
  at::Tensor key_bias;      // [width]
  at::Tensor value_weight;  // [width, width_of_states]
  at::Tensor value_bias;    // [width]
};

// softmax(q k^T / sqrt(head_dim)) v of k = states key_weight^T + key_bias and v alike, by associativity: q k^T is
// (q key_weight) states^T, and (weights states) value_weight^T is weights v.
//   q: [batch, queries, width]; states: [batch, time, width_of_states].
// Returns [batch, queries, width]. Weights are dropped with `dropout_probability` when a generator is given.
// For the backward pass the weights [batch, heads * queries, time] are kept, before and after some were dropped, and
// nothing else of the states' length.
[[nodiscard]] at::Tensor folded_attention(const at::Tensor& q, const at::Tensor& states, const KeyAndValue& projections,
                                          std::int64_t heads, double dropout_probability = 0.0,
                                          const c10::optional<at::Generator>& generator = c10::nullopt);

// Whether it takes no more operations than attention() over keys and values: each of its two products with the states
// has heads * queries rows, where theirs have `width` columns.
[[nodiscard]] constexpr bool folding_pays(std::int64_t queries, std::int64_t heads, std::int64_t width) {
  return heads * queries <= width;
}

}  // namespace desta::models
