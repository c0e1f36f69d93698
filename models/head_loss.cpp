#include "models/head_loss.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

#include "models/product_rows.h"
#include "models/vector_math.h"
#include "runtime/core/error.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of Llama 3's 128,256 logits that is 128 rows (product_rows.h): enough for the product to be bound by
// arithmetic.
constexpr std::int64_t kMostLogits = std::int64_t{128} * 128256;

struct RowLoss {
  float loss;
  bool right;
};

// Cross entropy of one row of logits at `target`; the logits become scale (softmax - one at target).
DESTA_FOR_EACH_MACHINE RowLoss cross_entropy_row(float* logits, std::int64_t size,
                                                 std::int64_t target, float scale) {
  const float largest = largest_of(logits, size);
  const float own = logits[target] - largest;
  float sum = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    logits[i] = exp_of(logits[i] - largest);
    sum += logits[i];
  }
  const float share = scale / sum;
  for (std::int64_t i = 0; i < size; ++i) {
    logits[i] *= share;
  }
  logits[target] -= scale;
  return {std::log(sum) - own, own >= 0};
}

struct ChunkLoss {
  Tensor sum;  // [] float64
  std::int64_t right = 0;
};

// Turns float32 logits [n, vocab_size] into their gradients.
ChunkLoss cross_entropy(Tensor& logits, const Tensor& targets, double scale) {
  if (logits.is_cuda()) {
    const Tensor index = targets.unsqueeze(1);
    const auto right = logits.argmax(1).eq(targets).sum().item<std::int64_t>();
    const Tensor log_shares = at::log_softmax(logits, 1);
    const Tensor sum = -log_shares.gather(1, index).sum().to(at::kDouble);
    logits = log_shares.exp_().scatter_add_(1, index, -at::ones_like(index, log_shares.options()));
    logits.mul_(scale);
    return {sum, right};
  }
  double sum = 0;
  std::int64_t right = 0;
  const auto size = logits.size(1);
  // As the loop below writes where they point.
  if (targets.numel() > 0 &&
      (targets.min().item<std::int64_t>() < 0 || targets.max().item<std::int64_t>() >= size)) {
    throw runtime::InternalError("a token to learn is not in the vocabulary of {}", size);
  }
  const auto* target = targets.data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < logits.size(0); ++row) {
    const RowLoss one = cross_entropy_row(logits.data_ptr<float>() + row * size, size, target[row],
                                          static_cast<float>(scale));
    sum += one.loss;
    right += one.right ? 1 : 0;
  }
  return {at::scalar_tensor(sum, at::kDouble), right};
}

class HeadLossFunction : public torch::autograd::Function<HeadLossFunction> {
 public:
  // `gradients`: is there a backward pass to come?
  static Tensor forward(AutogradContext* context, const Tensor& hidden, const Tensor& head,
                        const Tensor& targets, double scale, bool gradients, std::int64_t* right) {
    const auto count = hidden.size(0);
    const auto chunk = std::max<std::int64_t>(1, kMostLogits / head.size(0));
    Tensor dhidden = gradients ? at::empty_like(hidden) : Tensor();
    Tensor sum = at::zeros({}, hidden.options().dtype(at::kDouble));
    for (std::int64_t begin = 0; begin < count; begin += chunk) {
      const auto rows = std::min(chunk, count - begin);
      Tensor logits = at::linear(with_missing_rows(hidden.narrow(0, begin, rows)), head)
                          .to(at::kFloat)
                          .narrow(0, 0, rows);
      const ChunkLoss loss = cross_entropy(logits, targets.narrow(0, begin, rows), scale);
      sum += loss.sum;
      *right += loss.right;
      if (gradients) {
        const Tensor rounded = with_missing_rows(logits.to(head.scalar_type()));
        dhidden.narrow(0, begin, rows).copy_(at::mm(rounded, head).narrow(0, 0, rows));
      }
    }
    if (gradients) {
      context->save_for_backward({dhidden});
    }
    return (sum * scale).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor dhidden = context->get_saved_variables().front();
    return {dhidden * gradients[0].to(dhidden.scalar_type()), Tensor(), Tensor(),
            Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

HeadLoss head_loss(const Tensor& hidden, const Tensor& head, const Tensor& targets, double scale) {
  if (hidden.dim() != 2 || targets.dim() != 1 || targets.size(0) != hidden.size(0) ||
      targets.scalar_type() != at::kLong || !targets.is_contiguous()) {
    throw runtime::InternalError("a loss over {} rows with {} targets of another layout",
                                 hidden.size(0), targets.numel());
  }
  HeadLoss loss;
  const bool gradients = at::GradMode::is_enabled() && hidden.requires_grad();
  loss.sum = HeadLossFunction::apply(hidden, head, targets, scale, gradients, &loss.right);
  return loss;
}

}  // namespace desta::models
