// The form in which texts are compared: the words alone.
#pragma once

#include <string>
#include <string_view>

namespace desta::datagen {

// Lower case, without punctuation, words parted by single spaces; apostrophes vanish.
// "Is it cold, Anna?" -> "is it cold anna".
[[nodiscard]] std::string normalise_text(std::string_view text);

// True when the words of `label` occur in `text` one behind the other, both normalised.
[[nodiscard]] bool contains_words(std::string_view text, std::string_view label);

}  // namespace desta::datagen
