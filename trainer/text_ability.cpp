#include "trainer/text_ability.h"

#include "datagen/instruction_corpus.h"
#include "datagen/seed_transcript.h"
#include "runtime/core/random.h"

namespace desta::trainer {

std::vector<TextRecord> ask_text_questions(
    std::int64_t count, std::uint64_t seed,
    const std::function<std::vector<std::string>(const std::vector<std::string>&)>& answer) {
  runtime::Random random(seed);
  std::vector<datagen::Scene> scenes;
  std::vector<datagen::Question> questions;
  std::vector<std::string> turns;
  for (std::int64_t i = 0; i < count; ++i) {
    scenes.push_back(datagen::draw_scene(random, datagen::Split::kHeldOut));
    questions.push_back(datagen::draw_question(random, scenes.back()));
    const std::string transcript = datagen::seed_transcript(
        scenes.back().sentence, scenes.back().seconds, scenes.back().metadata, {});
    turns.push_back(datagen::generator_prompt(transcript, questions.back().text));
  }
  const auto answers = answer(turns);
  std::vector<TextRecord> records;
  for (std::size_t i = 0; i < turns.size(); ++i) {
    records.push_back({.kind = std::string(datagen::name_of(questions[i].kind)),
                       .question = turns[i],
                       .expected = questions[i].answer,
                       .answer = answers[i],
                       .right = datagen::is_right(questions[i], scenes[i], answers[i])});
  }
  return records;
}

}  // namespace desta::trainer
