#include "datagen/sentence_grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "datagen/normalise_text.h"
#include "datagen/syllables.h"

namespace desta::datagen {
namespace {

std::vector<std::string> words_of(const std::string& sentence) {
  std::istringstream in(normalise_text(sentence));
  std::vector<std::string> words;
  for (std::string word; in >> word;) {
    words.push_back(word);
  }
  return words;
}

TEST(SentenceGrammar, DrawsShortPlainSentencesFromAClosedVocabulary) {
  runtime::Random random(1);
  const auto& known = vocabulary();
  EXPECT_GE(known.size(), 350U);
  EXPECT_LE(known.size(), 450U);
  EXPECT_TRUE(std::is_sorted(known.begin(), known.end()));
  for (int i = 0; i < 5000; ++i) {
    const std::string sentence = make_sentence(random, Split::kTrain);
    const auto words = words_of(sentence);
    EXPECT_GE(words.size(), 3U) << sentence;
    EXPECT_LE(words.size(), 11U) << sentence;
    EXPECT_TRUE(std::isupper(static_cast<unsigned char>(sentence.front()))) << sentence;
    EXPECT_TRUE(sentence.ends_with('.') || sentence.ends_with('?')) << sentence;
    EXPECT_EQ(sentence.find_first_of("'-0123456789{}"), std::string::npos) << sentence;
    for (const auto& word : words) {
      EXPECT_TRUE(std::binary_search(known.begin(), known.end(), word)) << word;
    }
  }
}

TEST(SentenceGrammar, SplitsByTheWordsAlone) {
  EXPECT_EQ(split_of("Is it cold, Anna?"), split_of("is it cold anna"));
  runtime::Random random(2);
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(split_of(make_sentence(random, Split::kTrain)), Split::kTrain);
    EXPECT_EQ(split_of(make_sentence(random, Split::kHeldOut)), Split::kHeldOut);
  }
}

TEST(SentenceGrammar, SeldomRepeatsItself) {
  runtime::Random random(3);
  std::set<std::string> seen;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    seen.insert(make_sentence(random, Split::kTrain));
  }
  EXPECT_GT(seen.size(), kDraws * 9 / 10);
}

TEST(SentenceGrammar, TheSameSeedSaysTheSame) {
  runtime::Random first(4);
  runtime::Random second(4);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(make_sentence(first, Split::kTrain), make_sentence(second, Split::kTrain));
  }
}

TEST(Syllables, AreCountedBySpelling) {
  const std::pair<const char*, std::size_t> words[] = {
      {"hello", 2},  {"table", 2},  {"wanted", 2}, {"walked", 1},  {"library", 3},
      {"museum", 3}, {"twelve", 1}, {"horses", 2}, {"Chicago", 3}, {"station", 2},
      {"piano", 3},  {"the", 1},    {"yellow", 2}, {"bottles", 2}};
  for (const auto& [word, count] : words) {
    EXPECT_EQ(count_syllables(word), count) << word;
  }
  EXPECT_EQ(count_syllables(""), 0U);
  EXPECT_EQ(count_syllables("Is it cold, Anna?"), 5U);
}

}  // namespace
}  // namespace desta::datagen
