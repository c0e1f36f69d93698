#include "models/folded_attention.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "models/torch_util.h"

namespace desta::models {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Returns x as it is, and gives `parameter` a gradient of zero: the optimiser and the exchange of gradients hear of
// every parameter.
class WithoutEffect : public torch::autograd::Function<WithoutEffect> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, const Tensor& parameter) {
    context->save_for_backward({parameter});
    return x.view(x.sizes());
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    return {gradients[0], at::zeros_like(context->get_saved_variables()[0])};
  }
};

// [batch, queries, heads * size] -> [heads, batch * queries, size], and back.
Tensor to_heads(const Tensor& x, std::int64_t heads) {
  return x.reshape({x.size(0) * x.size(1), heads, x.size(2) / heads}).transpose(0, 1);
}
Tensor from_heads(const Tensor& x, std::int64_t batch) {
  return x.transpose(0, 1).reshape({batch, x.size(1) / batch, x.size(0) * x.size(2)});
}

// [heads, batch * queries, size] -> [batch, heads * queries, size], and back.
Tensor to_rows(const Tensor& x, std::int64_t batch) {
  const auto queries = x.size(1) / batch;
  return x.view({x.size(0), batch, queries, x.size(2)})
      .transpose(0, 1)
      .reshape({batch, x.size(0) * queries, x.size(2)});
}
Tensor from_rows(const Tensor& x, std::int64_t heads) {
  const auto queries = x.size(1) / heads;
  return x.view({x.size(0), heads, queries, x.size(2)})
      .transpose(0, 1)
      .reshape({heads, x.size(0) * queries, x.size(2)});
}

}  // namespace

Tensor folded_attention(const Tensor& q, const Tensor& states, const KeyAndValue& projections, std::int64_t heads,
                        double dropout_probability, const c10::optional<at::Generator>& generator) {
  const auto batch = q.size(0);
  const auto head_dim = q.size(2) / heads;
  const auto states_width = states.size(2);
  const Tensor scaled =
      WithoutEffect::apply(q, projections.key_bias) * (1.0 / std::sqrt(static_cast<double>(head_dim)));
  const Tensor key_weight = projections.key_weight.view({heads, head_dim, states_width});
  const Tensor asked = to_rows(at::bmm(to_heads(scaled, heads), key_weight), batch);
  const Tensor weights =
      dropout(at::softmax(at::bmm(asked, states.transpose(1, 2)), -1), dropout_probability, generator);
  const Tensor mixed = from_rows(at::bmm(weights, states), heads);
  const Tensor value_weight = projections.value_weight.view({heads, head_dim, states_width});
  const Tensor values = from_heads(at::bmm(mixed, value_weight.transpose(1, 2)), batch);
  if (!generator.has_value()) {
    return values + projections.value_bias;  // weights add up to one
  }
  const Tensor sums = from_heads(from_rows(weights.sum(-1, true), heads).expand({-1, -1, head_dim}), batch);
  return values + sums * projections.value_bias;
}

}  // namespace desta::models
