#include "datagen/generation_engine.h"

namespace desta::datagen {

GenerationEngine::GenerationEngine(const models::LanguageModel& model, const models::Tokenizer& tokenizer,
                                   models::TokenId end_of_turn, const EngineOptions& options)
    : model_(model),
      scheduler_(tokenizer, end_of_turn, options, {model.max_positions(), model.page_bytes()}),
      pages_(model.make_pages(scheduler_.pages())) {}

bool GenerationEngine::step() {
  const at::NoGradGuard no_grad;
  const auto plan = scheduler_.begin_step();
  if (!plan.has_value()) {
    return false;
  }
  if (!plan->sequences.empty()) {
    scheduler_.finish_step(model_.step(scheduler_.embeddings(model_), *plan, *pages_));
  }
  return true;
}

}  // namespace desta::datagen
