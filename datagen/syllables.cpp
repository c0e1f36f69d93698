#include "datagen/syllables.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "datagen/normalise_text.h"

namespace desta::datagen {
namespace {

bool is_vowel(char c) { return std::string_view("aeiouy").find(c) != std::string_view::npos; }

bool ends_with_any(std::string_view word, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return word.ends_with(ending); });
}

bool has_silent_ending(std::string_view word) {
  if (word.size() < 3) {
    return false;
  }
  if (word.ends_with("e")) {
    const bool sounded_le = word.ends_with("le") && !is_vowel(word[word.size() - 3]);
    return !is_vowel(word[word.size() - 2]) && !sounded_le;
  }
  const std::string_view stem = word.substr(0, word.size() - 2);
  if (word.ends_with("es")) {
    return !is_vowel(stem.back()) && !ends_with_any(stem, {"s", "x", "z", "ch", "sh", "c", "g"}) &&
           !(stem.ends_with("l") && !is_vowel(stem[stem.size() - 2]));
  }
  return word.ends_with("ed") && word.size() > 3 && !is_vowel(stem.back()) &&
         !ends_with_any(stem, {"t", "d"});
}

std::size_t syllables_of_word(std::string_view word) {
  std::size_t digits = 0;
  std::size_t groups = 0;
  bool in_group = false;
  for (std::size_t i = 0; i < word.size(); ++i) {
    digits += std::isdigit(static_cast<unsigned char>(word[i])) != 0 ? 1 : 0;
    const bool initial_y = i == 0 && word[i] == 'y';
    // Two vowels that are mostly spoken apart: ri-ot, i-de-a, mu-se-um, po-et.
    const bool apart = in_group && i > 0 &&
                       ((word[i - 1] == 'i' && (word[i] == 'a' || word[i] == 'o') &&
                         !ends_with_any(word.substr(0, i + 1), {"tio", "sio", "cia", "tia"})) ||
                        (word[i - 1] == 'e' && word[i] == 'u' && i > 1));
    const bool vowel = is_vowel(word[i]) && !initial_y;
    groups += vowel && (!in_group || apart) ? 1 : 0;
    in_group = vowel;
  }
  if (digits > 0) {
    return digits + groups;
  }
  if (groups > 1 && has_silent_ending(word)) {
    --groups;
  }
  return std::max<std::size_t>(groups, 1);
}

}  // namespace

std::size_t count_syllables(std::string_view text) {
  const std::string words = normalise_text(text);
  std::size_t count = 0;
  for (std::size_t start = 0; start < words.size();) {
    const std::size_t end = std::min(words.find(' ', start), words.size());
    count += syllables_of_word(std::string_view(words).substr(start, end - start));
    start = end + 1;
  }
  return count;
}

}  // namespace desta::datagen
