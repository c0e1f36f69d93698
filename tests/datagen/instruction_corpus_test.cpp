#include "datagen/instruction_corpus.h"

#include <gtest/gtest.h>

#include <set>

#include "datagen/attribute_language.h"
#include "datagen/normalise_text.h"
#include "datagen/seed_transcript.h"

namespace desta::datagen {
namespace {

using runtime::Random;

std::string combination(const Scene& scene) {
  std::string words;
  for (const char* name : {"gender", "pitch", "volume", "speaking_speed"}) {
    const Attribute* attribute = find_attribute(scene.metadata, name);
    words += (attribute == nullptr ? "-" : attribute->word) + "/";
  }
  return words;
}

TEST(InstructionCorpus, TheSameSeedDrawsTheSameDialogues) {
  Random one(5);
  Random two(5);
  for (int i = 0; i < 20; ++i) {
    const auto a = draw_dialogue(one, Split::kTrain);
    const auto b = draw_dialogue(two, Split::kTrain);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t t = 0; t < a.size(); ++t) {
      EXPECT_EQ(a[t].role, b[t].role);
      EXPECT_EQ(a[t].content, b[t].content);
    }
  }
}

TEST(InstructionCorpus, HeldOutScenesHaveOtherSentencesAndOtherCombinations) {
  Random random(1);
  std::set<std::string> sentences;
  std::set<std::string> combinations;
  for (int i = 0; i < 2000; ++i) {
    const Scene scene = draw_scene(random, Split::kTrain);
    sentences.insert(scene.sentence);
    combinations.insert(combination(scene));
  }
  for (int i = 0; i < 200; ++i) {
    const Scene scene = draw_scene(random, Split::kHeldOut);
    EXPECT_FALSE(sentences.contains(scene.sentence)) << scene.sentence;
    EXPECT_FALSE(combinations.contains(combination(scene))) << combination(scene);
  }
}

TEST(InstructionCorpus, EveryAnswerIsRightAndAnotherScenesAnswerIsNot) {
  Random random(2);
  std::set<QuestionKind> kinds;
  int wrong = 0;
  int asked = 0;
  for (int i = 0; i < 500; ++i) {
    const Scene scene = draw_scene(random, Split::kTrain);
    const Question question = draw_question(random, scene);
    kinds.insert(question.kind);
    EXPECT_TRUE(is_right(question, scene, question.answer))
        << name_of(question.kind) << ": " << question.text << " -> " << question.answer;
    EXPECT_FALSE(is_right(question, scene, "")) << question.text;
    if (question.kind == QuestionKind::kDescribe) {
      const Scene other = draw_scene(random, Split::kTrain);
      wrong += is_right(question, scene, describe(random, other)) ? 0 : 1;
      ++asked;
    }
  }
  EXPECT_EQ(kinds.size(), 6u);
  EXPECT_EQ(wrong, asked);
}

TEST(InstructionCorpus, ADescriptionThatLeavesOneAttributeOutIsWrong) {
  Random random(3);
  for (int i = 0; i < 100; ++i) {
    const Scene scene = draw_scene(random, Split::kTrain);
    const Question question = describing_question(random, scene);
    for (const Attribute& attribute : scene.metadata) {
      EXPECT_TRUE(mentions(question.answer, attribute)) << attribute.name << ": " << question.answer;
    }
    Scene less = scene;
    if (less.metadata.size() < 2) {
      continue;
    }
    // "low" and its like may stand for another attribute, so the last that speaks for itself goes.
    if (less.metadata.back().name == "duration") {
      less.metadata.pop_back();
      EXPECT_FALSE(is_right(question, scene, describe(random, less)));
    }
  }
}

TEST(InstructionCorpus, AsksForWhatIsNotThereOnlyIfItMay) {
  Random random(4);
  int unknown = 0;
  for (int i = 0; i < 2000; ++i) {
    const Scene scene = draw_scene(random, Split::kTrain);
    if (scene.metadata.empty()) {
      continue;
    }
    EXPECT_NE(draw_question(random, scene, Difficulty::kFull, false).kind, QuestionKind::kUnknown);
    unknown += draw_question(random, scene).kind == QuestionKind::kUnknown ? 1 : 0;
  }
  EXPECT_GT(unknown, 0);
}

TEST(InstructionCorpus, DialoguesTakeTurnsAndEndWithAnAnswer) {
  Random random(6);
  bool audio = false;
  bool seed = false;
  for (int i = 0; i < 200; ++i) {
    const auto turns = draw_dialogue(random, Split::kTrain);
    const std::size_t first = turns.front().role == "audio" ? 1 : 0;
    audio = audio || first == 1;
    seed = seed || (first == 0 && turns.front().content.starts_with("[00:00:00 - "));
    ASSERT_GE(turns.size(), first + 2);
    for (std::size_t t = first; t < turns.size(); ++t) {
      EXPECT_EQ(turns[t].role, (t - first) % 2 == 0 ? "user" : "assistant");
      EXPECT_FALSE(turns[t].content.empty());
    }
    EXPECT_EQ(turns.back().role, "assistant");
  }
  EXPECT_TRUE(audio);
  EXPECT_TRUE(seed);
}

}  // namespace
}  // namespace desta::datagen
