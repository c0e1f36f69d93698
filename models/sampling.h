// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>

#include "models/tokenizer.h"
#include "runtime/core/random.h"

namespace desta::models {

struct SamplingOptions {
  double temperature = 0.0;  // 0: greedy, the smallest id among equals
  double top_p = 1.0;        // nucleus sampling (Holtzman et al. 2019)
  std::int64_t top_k = 0;    // draw among the k likeliest (Fan et al. 2018); 0: among all
  // Logits of tokens that were there before are divided by it where positive, multiplied where negative
  // (Keskar et al. 2019); 1: off.
  double repetition_penalty = 1.0;
};

// logits: one row [vocab_size], changed by the penalty. `before`: tokens that are penalised, those outside the
// vocabulary apart. top_k is applied before top_p. Draws from `random` only when sampling.
[[nodiscard]] TokenId sample(std::span<float> logits, const SamplingOptions& options,
                             runtime::Random& random, std::span<const TokenId> before = {});

}  // namespace desta::models
