#include "trainer/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "datagen/attribute_language.h"
#include "datagen/audio_file.h"
#include "datagen/instruction_corpus.h"
#include "datagen/normalise_text.h"
#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

const std::map<std::string, std::string> kQuestions = {
    {"gender", "What is the gender of the speaker?"},
    {"age", "How old is the speaker?"},
    {"accent", "What accent does the speaker have?"},
    {"emotion", "What emotion does the speaker show?"},
    {"pitch", "Is the pitch low, normal or high?"},
    {"volume", "Is the volume low, normal or high?"},
    {"speaking_speed", "Is the speaking speed slow, normal or fast?"},
    {"noise_level", "Is the noise level low, moderate or high?"},
    {"duration", "How long is the recording?"},
    {"words", "What does the speaker say?"}};

const std::map<std::string, std::string> kInstructions = {
    {"one_word", " Answer in one word."},
    {"json", " Answer in JSON."},
    {"capitals", " Answer in capital letters."}};

// The questions about one clip; answers still empty.
std::vector<EvaluationRecord> questions_about(const EvaluationClip& clip,
                                              const std::vector<std::string>& tasks) {
  std::vector<EvaluationRecord> records;
  const auto add = [&](const std::string& task, const std::string& question,
                       const std::string& label) {
    EvaluationRecord record;
    record.task = task;
    record.audio = clip.audio;
    record.question = question;
    record.label = label;
    records.push_back(std::move(record));
  };
  for (const auto& task : tasks) {
    const auto question = kQuestions.find(task);
    if (question == kQuestions.end()) {
      throw runtime::ConfigError("evaluation.tasks: '{}' is not a task", task);
    }
    if (task == "words") {
      add(task, question->second, clip.transcription);
    } else if (const auto* attribute = datagen::find_attribute(clip.metadata, task)) {
      add(task, question->second, datagen::label_of(*attribute));
    }
  }
  for (const auto& [task, suffix] : kInstructions) {
    add(task, kQuestions.at("gender") + suffix, "");
  }
  return records;
}

bool keeps_format(const std::string& task, const std::string& answer) {
  if (task == "one_word") {
    const std::string words = datagen::normalise_text(answer);
    return !words.empty() && words.find(' ') == std::string::npos;
  }
  if (task == "json") {
    const auto parsed = nlohmann::json::parse(answer, nullptr, /*allow_exceptions=*/false);
    return parsed.is_object() && !parsed.empty();
  }
  const auto is = [](auto test) { return [test](unsigned char c) { return test(c) != 0; }; };
  return std::any_of(answer.begin(), answer.end(), is([](int c) { return std::isupper(c); })) &&
         std::none_of(answer.begin(), answer.end(), is([](int c) { return std::islower(c); }));
}

}  // namespace

bool is_right(const EvaluationRecord& record, const std::string& answer) {
  return kInstructions.contains(record.task) ? keeps_format(record.task, answer)
                                             : datagen::contains_words(answer, record.label);
}

std::vector<EvaluationRecord> evaluate_clips(const SpeechLanguageModel& model,
                                             const std::vector<EvaluationClip>& clips,
                                             const datagen::SeedOptions& seeds,
                                             const std::vector<std::string>& tasks,
                                             const datagen::DecodingOptions& decoding,
                                             const std::function<void(double)>& progress) {
  std::vector<EvaluationRecord> records;
  std::vector<datagen::GenerationRequest> speech;
  std::vector<datagen::GenerationRequest> words_only;
  std::vector<datagen::TextRequest> ceiling;
  for (const auto& clip : clips) {
    const Heard heard = model.hear({datagen::read_audio(clip.audio)}).front();
    const std::string seed =
        datagen::seed_transcript(clip.transcription, clip.duration, clip.metadata, seeds);
    for (auto& record : questions_about(clip, tasks)) {
      speech.push_back(model.prompt(heard, record.question));
      words_only.push_back(model.prompt({heard.transcription, Tensor()}, record.question));
      ceiling.push_back({datagen::generator_prompt(seed, record.question), 0});
      records.push_back(std::move(record));
    }
  }
  const auto report = [&](double base) {
    return [&, base](std::size_t done) {
      if (progress) {
        progress(base + static_cast<double>(done) / (3.0 * static_cast<double>(records.size())));
      }
    };
  };
  const auto& text = model.text();
  const auto with_speech = text.answer_prompts(speech, decoding, report(0));
  const auto without = text.answer_prompts(words_only, decoding, report(1.0 / 3));
  const auto best = text.answer(ceiling, decoding, report(2.0 / 3));
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].speech = with_speech[i];
    records[i].transcription_only = without[i];
    records[i].ceiling = best[i];
  }
  return records;
}

EvaluationSummary summarise(const std::vector<EvaluationRecord>& records) {
  EvaluationSummary summary;
  std::map<std::string, std::map<std::string, std::int64_t>> labels;
  for (const auto& record : records) {
    auto& table = kInstructions.contains(record.task) ? summary.instructions : summary.tasks;
    TaskScore& score = table[record.task];
    ++score.n;
    score.accuracy += is_right(record, record.speech) ? 1 : 0;
    score.transcription_only += is_right(record, record.transcription_only) ? 1 : 0;
    score.ceiling += is_right(record, record.ceiling) ? 1 : 0;
    ++labels[record.task][record.label];
  }
  for (auto* table : {&summary.tasks, &summary.instructions}) {
    for (auto& [task, score] : *table) {
      const auto n = static_cast<double>(score.n);
      std::int64_t most = 0;
      for (const auto& [label, count] : labels[task]) {
        most = std::max(most, label.empty() ? 0 : count);
      }
      score.accuracy /= n;
      score.transcription_only /= n;
      score.ceiling /= n;
      score.majority = static_cast<double>(most) / n;
    }
  }
  TaskScore& average = summary.average;
  for (const auto& [task, score] : summary.tasks) {
    const auto share = 1.0 / static_cast<double>(summary.tasks.size());
    average.accuracy += share * score.accuracy;
    average.majority += share * score.majority;
    average.transcription_only += share * score.transcription_only;
    average.ceiling += share * score.ceiling;
    average.n += score.n;
  }
  return summary;
}

nlohmann::ordered_json EvaluationSummary::to_json() const {
  const auto object = [](const TaskScore& score) {
    return nlohmann::ordered_json{{"accuracy", score.accuracy},
                                  {"majority", score.majority},
                                  {"transcription_only", score.transcription_only},
                                  {"ceiling", score.ceiling},
                                  {"n", score.n}};
  };
  nlohmann::ordered_json json;
  for (const auto& [task, score] : tasks) {
    json["tasks"][task] = object(score);
  }
  json["average"] = object(average);
  for (const auto& [task, score] : instructions) {
    json["instruction_following"][task] = object(score);
  }
  return json;
}

std::string EvaluationSummary::to_text(const std::string& title) const {
  std::string text = fmt::format("{}\n  {:<16} {:>8} {:>9} {:>14} {:>8} {:>6}\n", title, "task",
                                 "accuracy", "majority", "transcription", "ceiling", "n");
  const auto row = [&](const std::string& name, const TaskScore& score) {
    text += fmt::format("  {:<16} {:>7.1f}% {:>8.1f}% {:>13.1f}% {:>7.1f}% {:>6}\n", name,
                        100 * score.accuracy, 100 * score.majority,
                        100 * score.transcription_only, 100 * score.ceiling, score.n);
  };
  for (const auto& [task, score] : tasks) {
    row(task, score);
  }
  row("average", average);
  for (const auto& [task, score] : instructions) {
    text += fmt::format("  format kept: {:<10} {:>.1f}% (transcription {:.1f}%, ceiling {:.1f}%, n {})\n",
                        task, 100 * score.accuracy, 100 * score.transcription_only,
                        100 * score.ceiling, score.n);
  }
  return text;
}

}  // namespace desta::trainer
