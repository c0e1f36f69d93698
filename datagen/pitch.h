// The fundamental frequency of speech: YIN.
#pragma once

#include <optional>
#include <span>
#include <vector>

namespace desta::datagen {

struct PitchOptions {
  double minimum_hz = 62;  // just above mains hum, which is as periodic as a voice
  double maximum_hz = 500;
  double threshold = 0.15;  // of the normalised difference function; the paper uses 0.1 to 0.15
  double noisy_threshold = 0.3;  // tried when fewer than 10 frames pass the first
  double gate_db = 25;           // frames this far below the loudest frame are not looked at
};

// The median F0 [Hz] over the voiced frames. YIN, de Cheveigne and Kawahara, "YIN, a fundamental
// frequency estimator for speech and music", JASA 111(4), 2002, steps 1 to 5: difference function
// over a window of 25 ms every 10 ms, cumulative mean normalisation, absolute threshold, parabolic
// interpolation; a low pass at 1 kHz first (the paper's own pre-processing). A frame is voiced
// when a dip goes below the threshold; noise fills the dips, so a second, laxer threshold is tried
// where the first finds next to nothing (the paper takes the deepest dip then). `active` names the
// frames of 10 ms to look at, as speech_activity() gives them; empty means all. Absent when fewer
// than 5 frames are voiced.
[[nodiscard]] std::optional<double> median_pitch(std::span<const float> samples, int sample_rate,
                                                 const std::vector<bool>& active = {},
                                                 const PitchOptions& options = {});

}  // namespace desta::datagen
