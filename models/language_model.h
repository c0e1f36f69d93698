// What text generation needs of a language model: tokens in, logits out, a KV cache in between. A
// whole local Llama implements it; so may a pipeline of stages.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "models/kv_cache.h"

namespace desta::models {

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  [[nodiscard]] virtual std::int64_t vocab_size() const = 0;
  [[nodiscard]] virtual std::int64_t max_positions() const = 0;
  [[nodiscard]] virtual KvCache make_cache(std::int64_t batch, std::int64_t capacity) const = 0;

  // Token embeddings: [batch, time] int64 -> [batch, time, hidden].
  [[nodiscard]] virtual at::Tensor embed(const at::Tensor& tokens) const = 0;

  // Runs new positions through the model. embeddings: [batch, time, hidden], row b real in its
  // first counts[b] positions (the rest is padding). The cache grows by counts[b] in row b.
  // Returns the logits behind each row's last real position: [batch, vocab_size], float32.
  [[nodiscard]] virtual at::Tensor next_logits(const at::Tensor& embeddings,
                                               const std::vector<std::int64_t>& counts,
                                               KvCache& cache) const = 0;
};

}  // namespace desta::models
