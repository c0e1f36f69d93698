#include "trainer/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace desta::trainer {

double learning_rate_at(const OptimizerOptions& options, std::int64_t step, std::int64_t total) {
  const auto now = static_cast<double>(step);
  const auto warmup = static_cast<double>(options.warmup_steps);
  if (now < warmup) {
    return options.learning_rate * (now + 1.0) / warmup;
  }
  const double span = std::max(1.0, static_cast<double>(total) - warmup);
  const double done = std::min(1.0, (now - warmup) / span);
  return options.learning_rate * 0.5 * (1.0 + std::cos(std::numbers::pi * done));
}

AdamW::AdamW(OptimizerOptions options, const at::Tensor& values)
    : options_(options), first_(at::zeros_like(values)), second_(at::zeros_like(values)) {}

AdamW::Update AdamW::apply(at::Tensor& values, at::Tensor& gradients, double learning_rate,
                           double norm) {
  const at::NoGradGuard no_grad;
  Update update;
  update.gradient_norm = norm;
  if (!std::isfinite(update.gradient_norm)) {
    update.skipped = true;
    return update;
  }
  if (options_.clip_norm > 0.0 && update.gradient_norm > options_.clip_norm) {
    gradients.mul_(options_.clip_norm / update.gradient_norm);
  }
  ++updates_;
  const auto count = static_cast<double>(updates_);
  first_.mul_(options_.beta1).add_(gradients, 1.0 - options_.beta1);
  second_.mul_(options_.beta2).addcmul_(gradients, gradients, 1.0 - options_.beta2);
  const double correction1 = 1.0 - std::pow(options_.beta1, count);
  const double correction2 = 1.0 - std::pow(options_.beta2, count);
  const at::Tensor denominator =
      (second_ / correction2).sqrt_().add_(options_.eps);
  values.mul_(1.0 - learning_rate * options_.weight_decay);
  values.addcdiv_(first_, denominator, -learning_rate / correction1);
  return update;
}

}  // namespace desta::trainer
