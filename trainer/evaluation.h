// Questions that the adapter never saw in training, asked about recordings it never heard, and
// scored as Dynamic-SUPERB is: the label must appear in the answer as consecutive words.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datagen/manifest.h"
#include "datagen/metadata.h"
#include "datagen/seed_transcript.h"
#include "trainer/speech_language_model.h"

namespace desta::trainer {

// A recording with what is known of it.
struct EvaluationClip {
  std::string audio;
  std::string transcription;
  double duration = 0;
  datagen::Metadata metadata;
};

// One question about one clip, and the answers of the three ways to ask it.
struct EvaluationRecord {
  std::string task;   // "gender", ..., "words"; "one_word", "json", "capitals"
  std::string audio;
  std::string question;
  std::string label;  // empty for instruction tasks
  std::string speech;              // the LLM with speech vectors and Whisper's transcription
  std::string transcription_only;  // the same without speech vectors
  std::string ceiling;             // the LLM with the true seed transcript
  template <class Archive>
  void serialize(Archive& archive) {
    archive(task, audio, question, label, speech, transcription_only, ceiling);
  }
};

// Asks every task about every clip. `attributes`: those that seed transcripts show.
[[nodiscard]] std::vector<EvaluationRecord> evaluate_clips(
    const SpeechLanguageModel& model, const std::vector<EvaluationClip>& clips,
    const datagen::SeedOptions& seeds, const std::vector<std::string>& tasks,
    const datagen::DecodingOptions& decoding, const std::function<void(double)>& progress = {});

// True when the answer is right for the task, or keeps to the format that was asked for.
[[nodiscard]] bool is_right(const EvaluationRecord& record, const std::string& answer);

struct TaskScore {
  double accuracy = 0;
  double majority = 0;
  double transcription_only = 0;
  double ceiling = 0;
  std::int64_t n = 0;
};

struct EvaluationSummary {
  std::map<std::string, TaskScore> tasks;        // classification tasks and the words
  std::map<std::string, TaskScore> instructions;  // accuracy: how often the format was kept
  TaskScore average;                              // mean over `tasks`

  [[nodiscard]] nlohmann::ordered_json to_json() const;
  // A table for people.
  [[nodiscard]] std::string to_text(const std::string& title) const;
};

[[nodiscard]] EvaluationSummary summarise(const std::vector<EvaluationRecord>& records);

}  // namespace desta::trainer
