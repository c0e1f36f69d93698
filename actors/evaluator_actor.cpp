#include "actors/evaluator_actor.h"

#include "runtime/actor/actor_system.h"

namespace desta::actors {

EvaluatorActor::EvaluatorActor(const std::string& adapter)
    : options_(runtime::current_system().resource<EvaluatorOptions>()),
      generation_(runtime::current_system().resource<datagen::DecodingOptions>()),
      model_(options_.training, adapter) {}

std::vector<trainer::EvaluationRecord> EvaluatorActor::evaluate(
    const std::vector<ClipMessage>& messages) {
  std::vector<trainer::EvaluationClip> clips;
  for (const auto& message : messages) {
    clips.push_back({message.audio, message.transcription, message.duration,
                     datagen::metadata_from_json(nlohmann::json::parse(message.metadata))});
  }
  return trainer::evaluate_clips(model_, clips, options_.seeds, options_.tasks,
                                 options_.decoding);
}

std::vector<std::string> EvaluatorActor::answer(
    const std::vector<datagen::TextRequest>& requests) {
  return model_.text().answer(requests, generation_);
}

std::vector<std::string> EvaluatorActor::answer_greedily(const std::vector<std::string>& turns) {
  std::vector<datagen::TextRequest> requests;
  for (const auto& turn : turns) {
    requests.push_back({turn, 0});
  }
  return model_.text().answer(requests, {.max_new_tokens = generation_.max_new_tokens});
}

void register_evaluator_actor() {
  runtime::actor_type<EvaluatorActor>("Evaluator")
      .constructor<std::string>()
      .method<&EvaluatorActor::evaluate>("evaluate")
      .method<&EvaluatorActor::answer>("answer")
      .method<&EvaluatorActor::answer_greedily>("answer_greedily");
}

}  // namespace desta::actors
