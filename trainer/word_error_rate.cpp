#include "trainer/word_error_rate.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "datagen/normalise_text.h"

namespace desta::trainer {
namespace {

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream in(datagen::normalise_text(text));
  std::vector<std::string> words;
  for (std::string word; in >> word;) {
    words.push_back(word);
  }
  return words;
}

}  // namespace

WordErrors count_word_errors(std::string_view reference, std::string_view hypothesis) {
  const auto wanted = words_of(reference);
  const auto heard = words_of(hypothesis);
  // Levenshtein distance over words, one row at a time.
  std::vector<std::int64_t> row(heard.size() + 1);
  for (std::size_t j = 0; j <= heard.size(); ++j) {
    row[j] = static_cast<std::int64_t>(j);
  }
  for (std::size_t i = 1; i <= wanted.size(); ++i) {
    std::int64_t diagonal = row[0];
    row[0] = static_cast<std::int64_t>(i);
    for (std::size_t j = 1; j <= heard.size(); ++j) {
      const std::int64_t change = diagonal + (wanted[i - 1] == heard[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({change, row[j] + 1, row[j - 1] + 1});
    }
  }
  return {row.back(), static_cast<std::int64_t>(wanted.size())};
}

}  // namespace desta::trainer
