// Utterances whose metadata is true by construction: a plan draws who says what, how and where,
// and a renderer makes the sound.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "datagen/acoustics.h"
#include "datagen/sentence_grammar.h"
#include "datagen/synthesiser.h"
#include "datagen/voices.h"
#include "datagen/waveform.h"
#include "runtime/core/random.h"

namespace desta::datagen {

struct UtterancePlan {
  std::string id;  // sixteen hexadecimal digits, a hash of all the rest
  std::string sentence;
  Voice voice;
  SpeechSettings settings;
  double level_dbfs = -28;       // of the active speech (ITU-T P.56)
  std::optional<double> snr_db;  // absent: no noise is added
  NoiseKind noise = NoiseKind::kWhite;
  std::optional<double> c50_db;  // absent: no reverberation
};

// Where the measured values of an utterance are meant to fall, in the words of measurement.h.
// `noise` is "Low" for a clean utterance.
struct PlannedWords {
  std::string pitch;   // Low, Normal, High
  std::string volume;  // Low, Normal, High
  std::string speed;   // Slow, Normal, Fast
  std::string noise;   // Low, Moderate, High
};

// What is fixed between mouth and microphone instead of being drawn.
struct Air {
  std::optional<double> snr_db;  // absent: no noise
  std::optional<double> c50_db;  // absent: no reverberation
};

// Draws a plan. Independently of each other: a woman or a man (evenly, where both are among
// `voices`), then a voice; pitch, rate and level in one of three bands each, well clear of the
// thresholds between the words (pitch: one of the bands that the voice can reach); clean, about
// 15 dB or about 3 dB of SNR; no reverberation for two thirds. Sentences that would last longer
// than 7.5 s or less than 1 s are redrawn, by an estimate from their letters and the rate. With `air`,
// noise and reverberation are as it says; all else is drawn as without.
// Throws DataError when `voices` is empty.
[[nodiscard]] UtterancePlan plan_utterance(runtime::Random& random, Split split,
                                           const std::vector<Voice>& voices,
                                           const std::optional<Air>& air = std::nullopt);

[[nodiscard]] PlannedWords planned_words(const UtterancePlan& plan);

// Speaks the plan, then adds reverberation, sets the level, adds noise and guards against
// clipping, in this order. 1 to 7.5 s: what the estimate missed is spoken a little faster, or
// given silence around it. `random` draws the noise and the room.
[[nodiscard]] Waveform render(Synthesiser& synthesiser, const UtterancePlan& plan,
                              runtime::Random& random);

}  // namespace desta::datagen
