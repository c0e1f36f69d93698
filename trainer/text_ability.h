// What an LLM can do with text alone: questions about seed transcripts with held-out sentences and
// attribute combinations (datagen/instruction_corpus.h), as the stand-in LLM was measured on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace desta::trainer {

struct TextRecord {
  std::string kind;      // "describe", "attribute", "words", ...
  std::string question;  // the whole user turn
  std::string expected;  // one good answer
  std::string answer;
  bool right = false;
};

// Draws `count` questions from `seed` and scores what `answer` says to them (user turns in, texts out).
[[nodiscard]] std::vector<TextRecord> ask_text_questions(
    std::int64_t count, std::uint64_t seed,
    const std::function<std::vector<std::string>(const std::vector<std::string>&)>& answer);

}  // namespace desta::trainer
