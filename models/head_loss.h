// The vocabulary head of a frozen model and the loss behind it, without a tensor of all logits.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace desta::models {

struct HeadLoss {
  at::Tensor sum;          // [] float32: of the tokens' cross entropies, times `scale`
  std::int64_t right = 0;  // tokens whose own logit is the largest
};

// Cross entropy of softmax(hidden head^T) at `targets`. hidden [n, d_model]; head [vocab_size, d_model]
// of the same type, a constant; targets [n] int64 on its device. Works through chunks of rows whose
// float32 logits take at most 64 MiB, and makes the gradient of `hidden`, which is all that a backward
// pass needs, along with the loss.
[[nodiscard]] HeadLoss head_loss(const at::Tensor& hidden, const at::Tensor& head,
                                 const at::Tensor& targets, double scale);

}  // namespace desta::models
