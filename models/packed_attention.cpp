#include "models/packed_attention.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/vector_math.h"
#include "runtime/core/error.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Products of one sequence are small: in float32 they are as fast on a CPU as in half types, and exact
// to float32.
at::ScalarType working_type(const Tensor& x) { return x.is_cuda() ? x.scalar_type() : at::kFloat; }

// One sequence of all heads. The queries of one group read the same keys, so they are rows of one
// product: [kv_heads, group * length, head_dim].
Tensor queries_of(const Tensor& packed, std::int64_t kv_heads, std::int64_t begin,
                  std::int64_t length) {
  const auto heads = packed.size(0);
  return packed.narrow(1, begin, length)
      .to(working_type(packed))
      .reshape({kv_heads, heads / kv_heads * length, packed.size(2)});
}

// [kv_heads, shared + length, head_dim].
Tensor keys_of(const Tensor& packed, const Tensor& shared, std::int64_t begin, std::int64_t length) {
  const Tensor own = packed.narrow(1, begin, length);
  return (shared.defined() ? at::cat({shared, own}, 1) : own).to(working_type(packed));
}

// Row r of scores [length, keys] belongs to the query at position keys - length + r and sees all keys
// up to its own.
DESTA_FOR_EACH_MACHINE void softmax_rows(float* scores, std::int64_t length, std::int64_t keys,
                                         float scale) {
  for (std::int64_t r = 0; r < length; ++r, scores += keys) {
    const std::int64_t seen = keys - length + r + 1;
    const float largest = largest_of(scores, seen);
    float sum = 0;
    for (std::int64_t i = 0; i < seen; ++i) {
      scores[i] = exp_of((scores[i] - largest) * scale);
      sum += scores[i];
    }
    const float share = 1.0F / sum;
    for (std::int64_t i = 0; i < seen; ++i) {
      scores[i] *= share;
    }
    std::fill(scores + seen, scores + keys, 0.0F);
  }
}

// In: gradients of the weights; out: of the scores before scaling.
DESTA_FOR_EACH_MACHINE void softmax_rows_backward(const float* weights, float* gradients,
                                                  std::int64_t rows, std::int64_t keys,
                                                  float scale) {
  for (std::int64_t r = 0; r < rows; ++r, weights += keys, gradients += keys) {
    float dot = 0;
    for (std::int64_t i = 0; i < keys; ++i) {
      dot += weights[i] * gradients[i];
    }
    for (std::int64_t i = 0; i < keys; ++i) {
      gradients[i] = weights[i] * (gradients[i] - dot) * scale;
    }
  }
}

// q k^T -> weights, [kv_heads, group * length, keys].
Tensor weights_of(const Tensor& q, const Tensor& k, std::int64_t length, float scale) {
  Tensor scores = at::bmm(q, k.transpose(1, 2));
  const auto keys = k.size(1);
  const auto blocks = q.size(0) * q.size(1) / length;
  if (!scores.is_cuda()) {
    float* at = scores.data_ptr<float>();
    for (std::int64_t block = 0; block < blocks; ++block, at += length * keys) {
      softmax_rows(at, length, keys, scale);
    }
    return scores;
  }
  const Tensor hidden =
      at::ones({length, keys}, scores.options().dtype(at::kBool)).triu_(keys - length + 1);
  const Tensor masked = (scores.view({blocks, length, keys}).to(at::kFloat) * scale)
                            .masked_fill_(hidden, -std::numeric_limits<float>::infinity());
  return at::softmax(masked, -1).to(scores.scalar_type()).view_as(scores);
}

Tensor score_gradients(const Tensor& weights, Tensor gradients, float scale) {
  if (gradients.is_cuda()) {
    const Tensor wide = weights.to(at::kFloat);
    const Tensor product = wide * gradients;
    return ((product - wide * product.sum(-1, true)) * scale).to(weights.scalar_type());
  }
  softmax_rows_backward(weights.data_ptr<float>(), gradients.data_ptr<float>(),
                        weights.numel() / weights.size(2), weights.size(2), scale);
  return gradients;
}

class PackedAttention : public torch::autograd::Function<PackedAttention> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& q, const Tensor& k, const Tensor& v,
                        const std::vector<std::int64_t>& lengths, const SharedKeys* shared) {
    context->save_for_backward({q, k, v, shared->keys, shared->values});
    context->saved_data["lengths"] = lengths;
    const auto heads = q.size(1);
    const auto kv_heads = k.size(1);
    const auto head_dim = q.size(3);
    const float scale = scale_of(head_dim);
    Tensor out = at::empty({1, q.size(2), heads * head_dim},
                           q.options().memory_format(at::MemoryFormat::Contiguous));
    const Tensor by_head = out[0].view({q.size(2), heads, head_dim}).transpose(0, 1);
    std::int64_t begin = 0;
    for (const auto length : lengths) {
      if (length > 0) {
        const Tensor weights = weights_of(queries_of(q[0], kv_heads, begin, length),
                                          keys_of(k[0], shared->keys, begin, length), length, scale);
        by_head.narrow(1, begin, length)
            .copy_(at::bmm(weights, keys_of(v[0], shared->values, begin, length))
                       .view({heads, length, head_dim}));
      }
      begin += length;
    }
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor& q = saved[0];
    const Tensor& k = saved[1];
    const Tensor& v = saved[2];
    const auto heads = q.size(1);
    const auto kv_heads = k.size(1);
    const auto head_dim = q.size(3);
    const float scale = scale_of(head_dim);
    const Tensor gradient = gradients[0][0].view({q.size(2), heads, head_dim}).transpose(0, 1);
    const auto contiguous = at::MemoryFormat::Contiguous;
    Tensor dq = at::empty(q.sizes(), q.options().memory_format(contiguous));
    Tensor dk = at::empty(k.sizes(), k.options().memory_format(contiguous));
    Tensor dv = at::empty(v.sizes(), v.options().memory_format(contiguous));
    std::int64_t begin = 0;
    for (const auto length : context->saved_data["lengths"].toIntVector()) {
      if (length > 0) {
        const Tensor queries = queries_of(q[0], kv_heads, begin, length);
        const Tensor keys = keys_of(k[0], saved[3], begin, length);
        const Tensor values = keys_of(v[0], saved[4], begin, length);
        const Tensor out = queries_of(gradient, kv_heads, begin, length);
        const auto seen_by_all = keys.size(1) - length;
        const Tensor weights = weights_of(queries, keys, length, scale);
        dv[0].narrow(1, begin, length)
            .copy_(at::bmm(weights.transpose(1, 2), out).narrow(1, seen_by_all, length));
        const Tensor scores =
            score_gradients(weights, at::bmm(out, values.transpose(1, 2)), scale);
        dq[0].narrow(1, begin, length).copy_(at::bmm(scores, keys).view({heads, length, head_dim}));
        dk[0].narrow(1, begin, length)
            .copy_(at::bmm(scores.transpose(1, 2), queries).narrow(1, seen_by_all, length));
      }
      begin += length;
    }
    return {dq, dk, dv, Tensor(), Tensor()};
  }

 private:
  static float scale_of(std::int64_t head_dim) {
    return 1.0F / std::sqrt(static_cast<float>(head_dim));
  }
};

}  // namespace

Tensor packed_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Packing& packing,
                        const SharedKeys& shared) {
  if (packing.total() != q.size(2)) {
    throw runtime::InternalError("{} positions packed into sequences of {} in all", q.size(2),
                                 packing.total());
  }
  return PackedAttention::apply(q, k, v, packing.lengths(), &shared);
}

}  // namespace desta::models
