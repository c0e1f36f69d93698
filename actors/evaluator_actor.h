// The actor that asks a finished model about held-out recordings.
#pragma once

#include <string>
#include <vector>

#include "trainer/evaluation.h"

namespace desta::actors {

// A clip as it travels: metadata as JSON.
struct ClipMessage {
  std::string audio;
  std::string transcription;
  double duration = 0;
  std::string metadata;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(audio, transcription, duration, metadata);
  }
};

// What an evaluator is told, a resource of its process.
struct EvaluatorOptions {
  trainer::TrainingOptions training;
  datagen::SeedOptions seeds;
  std::vector<std::string> tasks;
  datagen::DecodingOptions decoding;
};

class EvaluatorActor {
 public:
  // `adapter`: an adapter.safetensors.
  explicit EvaluatorActor(const std::string& adapter);

  std::vector<trainer::EvaluationRecord> evaluate(const std::vector<ClipMessage>& clips);
  // Text-only answers to whole user turns, decoded as the dataset's responses were.
  std::vector<std::string> answer(const std::vector<datagen::TextRequest>& requests);
  // The same for bare user turns, greedily.
  std::vector<std::string> answer_greedily(const std::vector<std::string>& turns);

 private:
  const EvaluatorOptions& options_;
  const datagen::DecodingOptions& generation_;
  trainer::SpeechLanguageModel model_;
};

void register_evaluator_actor();

}  // namespace desta::actors
