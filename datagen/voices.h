// The synthetic speakers: what is true of each by construction (gender, age, accent) and which
// split it belongs to. A held-out speaker is never heard in training, in any accent.
#pragma once

#include <string>
#include <vector>

#include "datagen/sentence_grammar.h"

namespace desta::datagen {

struct Voice {
  std::string id;        // "en-gb-scotland+f2", "flite-slt": the speaker and accent
  std::string engine;    // "espeak" or "flite"
  std::string language;  // espeak's language ("en-us"); flite: "en"
  std::string variant;   // espeak's voice variant ("f2"); flite's voice ("slt")
  std::string gender;    // "Male" or "Female"
  std::string age;       // "Young", "Adult" or "Elderly", as the voice's own file states
  std::string accent;    // "American", "British", "Scottish", ...
  Split split = Split::kTrain;

  friend bool operator==(const Voice&, const Voice&) = default;
};

// espeak-ng's human-like variants crossed with its eight English accents. Held out are whole
// variants. Robots, whispers, croaks and the variants whose pitch contradicts the gender they
// claim are left out.
[[nodiscard]] std::vector<Voice> voices(Split split);

// Four voices built by flite from recordings of real speakers: Scottish (awb) and American (rms,
// kal) men and an American woman (slt). All held out: another kind of speech altogether.
[[nodiscard]] std::vector<Voice> flite_voices();

// The median pitch [Hz] of the voice at a pitch setting of the synthesiser (0 to 99, 50 is
// neutral), measured over accents, rates and sentences. One sentence lies within some 8 % of it.
// Throws DataError for a voice that is not in the two lists above.
[[nodiscard]] double pitch_of(const Voice& voice, double setting);

}  // namespace desta::datagen
