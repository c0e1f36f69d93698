#include "trainer/evaluation.h"

#include "trainer/word_error_rate.h"

namespace desta::trainer {
namespace {

TEST(WordErrorRate, CountsSubstitutionsDeletionsAndInsertions) {
  const auto errors = [](std::string_view a, std::string_view b) { return count_word_errors(a, b).errors; };
  EXPECT_EQ(errors("the cat sat", "the cat sat"), 0);
  EXPECT_EQ(errors("the cat sat", "the dog sat"), 1);
  EXPECT_EQ(errors("the cat sat", "the sat"), 1);
  EXPECT_EQ(errors("the cat sat", "the big cat sat"), 1);
  EXPECT_EQ(errors("the cat sat", ""), 3);
  EXPECT_EQ(errors("", "two words"), 2);
  EXPECT_EQ(errors("a b c d", "b c d e"), 2) << "one deletion and one insertion, not four changes";
}

TEST(WordErrorRate, IgnoresCaseAndPunctuation) {
  EXPECT_EQ(count_word_errors("The cat sat.", "the CAT, sat!").errors, 0);
}

TEST(WordErrorRate, IsErrorsOverTheReferencesWordsAddedUp) {
  WordErrors total = count_word_errors("the cat sat", "the dog sat");
  total += count_word_errors("one", "one two");
  EXPECT_EQ(total.words, 4);
  EXPECT_DOUBLE_EQ(total.rate(), 0.5);
  EXPECT_DOUBLE_EQ(WordErrors{}.rate(), 0.0);
}

EvaluationRecord record(const std::string& task, const std::string& label,
                        const std::string& speech = "", const std::string& without = "",
                        const std::string& ceiling = "") {
  EvaluationRecord r;
  r.task = task;
  r.label = label;
  r.speech = speech;
  r.transcription_only = without;
  r.ceiling = ceiling;
  return r;
}

TEST(IsRight, WantsTheLabelAsConsecutiveWords) {
  const auto male = record("gender", "male");
  EXPECT_TRUE(is_right(male, "The speaker is Male."));
  EXPECT_FALSE(is_right(male, "The speaker is female.")) << "a word, not a part of one";
  EXPECT_FALSE(is_right(male, ""));
  const auto seconds = record("duration", "4 seconds");
  EXPECT_TRUE(is_right(seconds, "It is 4 seconds long."));
  EXPECT_FALSE(is_right(seconds, "It is 14 seconds long."));
  EXPECT_FALSE(is_right(seconds, "4 or 5 seconds"));
  EXPECT_TRUE(is_right(record("words", "The bird sings."), "They say: the bird sings"));
}

TEST(IsRight, AnEmptyLabelIsNeverRight) { EXPECT_FALSE(is_right(record("words", ""), "anything")); }

TEST(IsRight, InstructionsAreAboutTheFormat) {
  EXPECT_TRUE(is_right(record("one_word", ""), "Male."));
  EXPECT_FALSE(is_right(record("one_word", ""), "It is male."));
  EXPECT_FALSE(is_right(record("one_word", ""), ""));
  EXPECT_TRUE(is_right(record("json", ""), R"({"gender": "male"})"));
  EXPECT_FALSE(is_right(record("json", ""), R"("male")")) << "an object is asked for";
  EXPECT_FALSE(is_right(record("json", ""), R"({"gender": )"));
  EXPECT_FALSE(is_right(record("json", ""), "{}")) << "says nothing";
  EXPECT_TRUE(is_right(record("capitals", ""), "THE SPEAKER IS MALE."));
  EXPECT_FALSE(is_right(record("capitals", ""), "The speaker is male."));
  EXPECT_FALSE(is_right(record("capitals", ""), "42")) << "nothing is in capitals";
}

TEST(Summarise, CountsEachWayOfAskingAndTheMajorityClass) {
  const auto summary = summarise({
      record("gender", "male", "male", "female", "male"),
      record("gender", "male", "male", "female", "male"),
      record("gender", "male", "female", "male", "male"),
      record("gender", "female", "female", "male", "female"),
      record("pitch", "low", "high", "high", "low"),
      record("pitch", "high", "high", "low", "low"),
      record("json", "", R"({"a": 1})", R"({"a": 1})", "no"),
      record("json", "", "no", R"({"a": 1})", "no"),
  });
  ASSERT_EQ(summary.tasks.size(), 2u);
  const auto& gender = summary.tasks.at("gender");
  EXPECT_DOUBLE_EQ(gender.accuracy, 3.0 / 4);
  EXPECT_DOUBLE_EQ(gender.majority, 3.0 / 4);
  EXPECT_DOUBLE_EQ(gender.transcription_only, 1.0 / 4);
  EXPECT_DOUBLE_EQ(gender.ceiling, 1.0);
  EXPECT_EQ(gender.n, 4);
  const auto& pitch = summary.tasks.at("pitch");
  EXPECT_DOUBLE_EQ(pitch.accuracy, 0.5);
  EXPECT_DOUBLE_EQ(pitch.majority, 0.5);
  // The average is over tasks, not over questions.
  EXPECT_DOUBLE_EQ(summary.average.accuracy, (0.75 + 0.5) / 2);
  EXPECT_DOUBLE_EQ(summary.average.majority, (0.75 + 0.5) / 2);
  EXPECT_EQ(summary.average.n, 6);
  ASSERT_EQ(summary.instructions.size(), 1u);
  EXPECT_DOUBLE_EQ(summary.instructions.at("json").accuracy, 0.5);
  EXPECT_DOUBLE_EQ(summary.instructions.at("json").transcription_only, 1.0);
  EXPECT_DOUBLE_EQ(summary.instructions.at("json").ceiling, 0.0);
  EXPECT_DOUBLE_EQ(summary.instructions.at("json").majority, 0.0) << "a format has no classes";
  const auto json = summary.to_json();
  for (const char* key : {"accuracy", "majority", "transcription_only", "ceiling", "n"}) {
    EXPECT_TRUE(json["tasks"]["gender"].contains(key)) << key;
    EXPECT_TRUE(json["average"].contains(key)) << key;
  }
  EXPECT_NE(summary.to_text("Title").find("75.0%"), std::string::npos);
}

TEST(Summarise, OfNothingIsZerosNotNaN) {
  const auto summary = summarise({});
  EXPECT_TRUE(summary.tasks.empty());
  EXPECT_EQ(summary.average.accuracy, 0.0);
  EXPECT_EQ(summary.average.n, 0);
}

}  // namespace
}  // namespace desta::trainer
