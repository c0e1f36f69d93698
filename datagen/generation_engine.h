// Answers many requests side by side over a LanguageModel: requests join and leave between steps
// (request_scheduler.h).
//
// What a request's text depends on: the request, its options and its seed; not on its neighbours, the cap, the
// size of a piece, how often it was put back, or the number of threads. With a whole Llama on a CPU that holds to
// the bit, in float32 and in bfloat16, on machines with the same instruction sets (models/row_product.h). Against
// another program, or our own training pass, rounding differs: in float32 texts part only where two tokens are
// equally likely to some six digits, in bfloat16 to two. On a GPU, products may round by the number of rows: nothing
// is promised.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "datagen/request_scheduler.h"

namespace desta::datagen {

class GenerationEngine {
 public:
  // `end_of_turn` ends an answer. Model and tokenizer must live as long as this. Throws ConfigError when the cap
  // holds no page.
  GenerationEngine(const models::LanguageModel& model, const models::Tokenizer& tokenizer,
                   models::TokenId end_of_turn, const EngineOptions& options);

  // As RequestScheduler::add().
  RequestId add(GenerationRequest request, const AnswerOptions& options) {
    return scheduler_.add(std::move(request), options);
  }

  // Goes through the model once. False when there is nothing to do.
  bool step();

  // Answers that have been finished since the last call, in the order of finishing.
  [[nodiscard]] std::vector<Answer> take_finished() { return scheduler_.take_finished(); }

  [[nodiscard]] const EngineCounts& counts() const { return scheduler_.counts(); }
  [[nodiscard]] std::int64_t pages() const { return scheduler_.pages(); }

 private:
  const models::LanguageModel& model_;
  RequestScheduler scheduler_;
  std::unique_ptr<models::KvPages> pages_;
};

}  // namespace desta::datagen
