#include "datagen/normalise_text.h"

#include <cctype>

namespace desta::datagen {

std::string normalise_text(std::string_view text) {
  std::string out;
  bool space = false;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) != 0 || u >= 0x80) {
      if (space && !out.empty()) {
        out += ' ';
      }
      space = false;
      out += static_cast<char>(std::tolower(u));
    } else if (c != '\'') {
      space = true;
    }
  }
  return out;
}

bool contains_words(std::string_view text, std::string_view label) {
  const std::string needle = normalise_text(label);
  return !needle.empty() &&
         (" " + normalise_text(text) + " ").find(" " + needle + " ") != std::string::npos;
}

}  // namespace desta::datagen
