#include "datagen/generation.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/core/error.h"

namespace desta::datagen {

std::string DecodingOptions::describe() const {
  std::string line =
      fmt::format("max_new_tokens={} temperature={} top_p={}", max_new_tokens, temperature, top_p);
  // What came later is told where it is used alone: keys of earlier rows stay as they are.
  if (top_k > 0) {
    line += fmt::format(" top_k={}", top_k);
  }
  if (repetition_penalty != 1.0) {
    line += fmt::format(" repetition_penalty={}", repetition_penalty);
  }
  if (!stop.empty()) {
    line += fmt::format(" stop={}", stop);
  }
  return line;
}

AnswerOptions DecodingOptions::answer() const {
  return {.sampling = {temperature, top_p, top_k, repetition_penalty},
          .max_new_tokens = max_new_tokens,
          .stop = stop};
}

EngineOptions DecodingOptions::engine() const {
  return {.most_running = std::max<std::int64_t>(1, batch_size), .cache_bytes = cache_mib << 20};
}

std::vector<std::string> generate(const models::LanguageModel& model, const models::Tokenizer& tokenizer,
                                  models::TokenId end_of_turn,
                                  const std::vector<GenerationRequest>& requests,
                                  const DecodingOptions& options,
                                  const std::function<void(std::size_t)>& progress) {
  GenerationEngine engine(model, tokenizer, end_of_turn, options.engine());
  for (const auto& request : requests) {
    engine.add(request, options.answer());
  }
  std::vector<std::string> texts(requests.size());
  std::string first_error;
  std::size_t done = 0;
  for (bool more = true; more;) {
    more = engine.step();
    for (auto& answer : engine.take_finished()) {
      if (first_error.empty()) {
        first_error = answer.error;
      }
      texts[static_cast<std::size_t>(answer.id)] = std::move(answer.text);
      ++done;
      if (progress) {
        progress(done);
      }
    }
  }
  if (!first_error.empty()) {
    throw runtime::ModelError("{}", first_error);
  }
  return texts;
}

}  // namespace desta::datagen
