// Word error rate: what share of the reference's words a hypothesis gets wrong.
#pragma once

#include <cstdint>
#include <string_view>

namespace desta::trainer {

struct WordErrors {
  std::int64_t errors = 0;  // substitutions, deletions and insertions of the best alignment
  std::int64_t words = 0;   // words of the reference

  WordErrors& operator+=(const WordErrors& other) {
    errors += other.errors;
    words += other.words;
    return *this;
  }
  [[nodiscard]] double rate() const {
    return words == 0 ? 0.0 : static_cast<double>(errors) / static_cast<double>(words);
  }
};

// Both texts are compared in lower case and without punctuation.
[[nodiscard]] WordErrors count_word_errors(std::string_view reference, std::string_view hypothesis);

}  // namespace desta::trainer
