#include "models/attention.h"

#include <cmath>
#include <limits>

#include "models/blocked_attention.h"
#include "models/torch_util.h"

namespace desta::models {

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& bias, double dropout_probability,
                     const c10::optional<at::Generator>& generator) {
  if (!bias.defined() && !generator.has_value() && can_block(q, k, v)) {
    return blocked_attention(q, k, v);
  }
  const auto batch = q.size(0);
  const auto heads = q.size(1);
  const auto queries = q.size(2);
  const auto head_dim = q.size(3);
  const auto kv_heads = k.size(1);
  const auto keys = k.size(2);
  const auto group = heads / kv_heads;
  // The queries of one group read the same keys, so they are rows of one product.
  const at::Tensor scaled =
      (q * (1.0 / std::sqrt(static_cast<double>(head_dim))))
          .reshape({batch, kv_heads, group * queries, head_dim});
  at::Tensor scores = at::matmul(scaled, k.transpose(2, 3));
  if (bias.defined()) {
    scores = (scores.view({batch, kv_heads, group, queries, keys}) +
              bias.to(scores.scalar_type()).unsqueeze(2))
                 .view({batch, kv_heads, group * queries, keys});
  }
  const at::Tensor weights =
      dropout(at::softmax(scores, -1), dropout_probability, generator);
  return at::matmul(weights, v)
      .view({batch, heads, queries, head_dim})
      .transpose(1, 2)
      .reshape({batch, queries, heads * head_dim});
}

at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

at::Tensor causal_bias(std::int64_t size, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kFloat).device(device);
  return at::full({size, size}, -std::numeric_limits<float>::infinity(), options)
      .triu_(1)
      .view({1, 1, size, size});
}

}  // namespace desta::models
