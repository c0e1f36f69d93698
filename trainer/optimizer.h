// AdamW (Loshchilov and Hutter 2017) with gradient clipping and a cosine schedule, over one flat
// vector of parameters.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace desta::trainer {

// Defaults are DeSTA2's.
struct OptimizerOptions {
  double learning_rate = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.98;
  double eps = 1e-8;
  double weight_decay = 0.01;
  std::int64_t warmup_steps = 2000;
  double clip_norm = 1.0;  // 0: no clipping
};

// Learning rate of the update that takes `step` (0-based) of `total`: linear warm-up, then a cosine
// down to zero.
[[nodiscard]] double learning_rate_at(const OptimizerOptions& options, std::int64_t step,
                                      std::int64_t total);

class AdamW {
 public:
  AdamW(OptimizerOptions options, const at::Tensor& values);

  struct Update {
    double gradient_norm = 0;
    bool skipped = false;  // the gradient was not finite: nothing has changed
  };
  // One update of `values` by `gradients` (both flat; gradients are scaled in place by clipping).
  // `norm`: of the whole gradient, of which these may be a part.
  Update apply(at::Tensor& values, at::Tensor& gradients, double learning_rate, double norm);

  [[nodiscard]] at::Tensor& first_moment() { return first_; }
  [[nodiscard]] at::Tensor& second_moment() { return second_; }
  [[nodiscard]] const at::Tensor& first_moment() const { return first_; }
  [[nodiscard]] const at::Tensor& second_moment() const { return second_; }
  // Updates applied so far (skipped ones do not count): the bias correction's clock.
  [[nodiscard]] std::int64_t updates() const { return updates_; }
  void set_updates(std::int64_t updates) { updates_ = updates; }

 private:
  OptimizerOptions options_;
  at::Tensor first_;
  at::Tensor second_;
  std::int64_t updates_ = 0;
};

}  // namespace desta::trainer
