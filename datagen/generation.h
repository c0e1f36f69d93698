// Text generation over a LanguageModel: a batch of prompts decoded side by side with a KV cache,
// each request with a random stream of its own, so its text does not depend on its neighbours.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "models/language_model.h"
#include "models/sampling.h"
#include "models/tokenizer.h"

namespace desta::datagen {

struct DecodingOptions {
  std::int64_t max_new_tokens = 200;
  double temperature = 0.0;  // 0: greedy
  double top_p = 1.0;
  std::int64_t batch_size = 32;

  // One line that tells these settings apart: part of a row's key.
  [[nodiscard]] std::string describe() const;
};

struct GenerationRequest {
  at::Tensor embeddings;  // [time, hidden]: the embedded prompt, speech vectors and all
  std::uint64_t seed = 0;
};

// Answers every request, in order, without the stop token. Requests are sorted by length and decoded
// in batches; a finished row leaves its batch. `progress` hears how many are done.
// Throws DataError when a prompt leaves no room for an answer in the model's positions.
[[nodiscard]] std::vector<std::vector<models::TokenId>> generate(
    const models::LanguageModel& model, const std::vector<GenerationRequest>& requests,
    const DecodingOptions& options, models::TokenId stop,
    const std::function<void(std::size_t)>& progress = {});

}  // namespace desta::datagen
