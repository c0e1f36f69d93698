// What free text says about a voice, in whatever words a large language model finds: which values of an
// attribute it states. attribute_language.h has the few phrases that the stand-in model was taught.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "datagen/metadata.h"

namespace desta::datagen {

// True when `text` states the attribute's value: as attribute_language.h says it, as a word of its own
// ("woman", "quietly"), or as a word that stands in one clause with what it is about and nearest to that
// ("the pitch of the voice is rather high"). Clauses with a negation state nothing. Words that quote
// `transcription` do not count.
[[nodiscard]] bool states(std::string_view text, const Attribute& attribute,
                          std::string_view transcription = {});

// The word by which `text` states another value of the attribute and not this one; nothing when it does
// not. Known for gender, age, pitch, volume, speaking_speed and noise_level, where the values exclude
// each other; what is neither is no contradiction.
[[nodiscard]] std::optional<std::string> contradiction(std::string_view text, const Attribute& attribute,
                                                       std::string_view transcription = {});

// `text` without the places where the words of `transcription` stand one behind the other, normalised;
// full stops stay between clauses.
[[nodiscard]] std::string without_quotation(std::string_view text, std::string_view transcription);

}  // namespace desta::datagen
