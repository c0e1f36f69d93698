#include "trainer/word_error_rate.h"

#include <sstream>
#include <string>
#include <vector>

#include "datagen/normalise_text.h"
#include "runtime/core/edit_distance.h"

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
  return {static_cast<std::int64_t>(runtime::edit_distance(wanted, heard)),
          static_cast<std::int64_t>(wanted.size())};
}

}  // namespace desta::trainer
