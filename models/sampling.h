// Choosing the next token from logits.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "models/tokenizer.h"
#include "runtime/core/random.h"

namespace desta::models {

struct SamplingOptions {
  double temperature = 0.0;  // 0: greedy, the smallest id among equals
  double top_p = 1.0;        // nucleus sampling (Holtzman et al. 2019)
};

// logits: one row [vocab_size], float32 on the CPU. Draws from `random` only when sampling.
[[nodiscard]] TokenId sample(const at::Tensor& logits, const SamplingOptions& options,
                             runtime::Random& random);

}  // namespace desta::models
