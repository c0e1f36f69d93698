#include "trainer/text_ability.h"

#include <gtest/gtest.h>

namespace desta::trainer {
namespace {

TEST(TextAbility, AsksTheSameQuestionsEachTimeAndScoresAnswers) {
  std::vector<std::string> asked;
  const auto silent = [&](const std::vector<std::string>& turns) {
    asked = turns;
    return std::vector<std::string>(turns.size());
  };
  const auto first = ask_text_questions(40, 7, silent);
  const auto turns = asked;
  ASSERT_EQ(first.size(), 40u);
  for (const auto& record : first) {
    EXPECT_FALSE(record.right) << record.question;
  }
  // Whoever says what is expected is right.
  std::size_t next = 0;
  const auto knows = [&](const std::vector<std::string>& again) {
    EXPECT_EQ(again, turns) << "the seed decides";
    std::vector<std::string> answers;
    for (; next < first.size(); ++next) {
      answers.push_back(first[next].expected);
    }
    return answers;
  };
  for (const auto& record : ask_text_questions(40, 7, knows)) {
    EXPECT_TRUE(record.right) << record.question << "\n" << record.answer;
  }
}

}  // namespace
}  // namespace desta::trainer
