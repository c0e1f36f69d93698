// Text generation over a LanguageModel: all requests in, all texts out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "datagen/generation_engine.h"

namespace desta::datagen {

struct DecodingOptions {
  std::int64_t max_new_tokens = 200;
  double temperature = 0.0;  // 0: greedy
  double top_p = 1.0;
  std::int64_t batch_size = 32;  // answers written side by side
  std::int64_t top_k = 0;        // 0: off
  double repetition_penalty = 1.0;
  std::vector<std::string> stop = {};   // an answer ends before the first of these
  std::int64_t cache_mib = 1024;   // that keys and values may take

  // One line that tells these settings apart, as far as a text depends on them: part of a row's key.
  [[nodiscard]] std::string describe() const;
  [[nodiscard]] AnswerOptions answer() const;
  [[nodiscard]] EngineOptions engine() const;
};

// Answers every request, in order; `end_of_turn` ends an answer. What a text depends on stands in
// generation_engine.h. `progress` hears how many are done. Throws what GenerationEngine::add() does, and
// ModelError when the answer to a request went wrong, once the others are done.
[[nodiscard]] std::vector<std::string> generate(
    const models::LanguageModel& model, const models::Tokenizer& tokenizer, models::TokenId end_of_turn,
    const std::vector<GenerationRequest>& requests, const DecodingOptions& options,
    const std::function<void(std::size_t)>& progress = {});

}  // namespace desta::datagen
