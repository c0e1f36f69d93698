// Text to speech through the espeak-ng and flite libraries, in this process and without files.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "datagen/voices.h"
#include "datagen/waveform.h"

namespace desta::datagen {

struct SpeechSettings {
  double words_per_minute = 170;  // 80 to 450 (espeak-ng's limits)
  int pitch = 50;                 // 0 to 99: see pitch_of() in voices.h; 50 is the voice's own
  int amplitude = 100;            // 0 to 200, 100 is neutral (espeak-ng; flite ignores it)

  friend bool operator==(const SpeechSettings&, const SpeechSettings&) = default;
};

// espeak-ng keeps its state in globals, so only one Synthesiser may exist in a process at a time
// and one thread may use it; constructing a second throws InternalError. A Synthesiser is cheap
// to keep and costs some 20 ms to make.
//
// The same call gives the same words, voice and timing, but not always the same bits: espeak-ng's
// phase and flutter run on from one utterance to the next.
class Synthesiser {
 public:
  Synthesiser();
  ~Synthesiser();
  Synthesiser(const Synthesiser&) = delete;
  Synthesiser& operator=(const Synthesiser&) = delete;

  // Speech at 16 kHz with 0.15 s of silence before and 0.2 s after (or less, where the engine gave
  // less). Throws DataError for a voice that is not installed or a text that gives no sound,
  // ConfigError for settings out of range.
  [[nodiscard]] Waveform speak(std::string_view text, const Voice& voice,
                               const SpeechSettings& settings);

  // The phonemes that an espeak-ng voice says `text` with: espeak-ng's mnemonics without stress marks,
  // and " " between words. Throws DataError for a voice that is not espeak-ng's or not installed.
  [[nodiscard]] std::vector<std::string> phonemes(std::string_view text, const Voice& voice);
};

}  // namespace desta::datagen
