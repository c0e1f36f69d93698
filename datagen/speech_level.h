// How loud the speech in a signal is, its pauses not counted: ITU-T Recommendation P.56, method B
// (a speech voltmeter).
#pragma once

#include <optional>
#include <span>

namespace desta::datagen {

struct SpeechLevel {
  double dbfs;      // RMS of the active speech, dB re full scale (a full-scale sine: -3.01 dBFS)
  double activity;  // the part of the time that is active, (0, 1]
};

// P.56 as published: a two-stage exponential envelope (time constant 30 ms), a hangover of 200 ms,
// thresholds 6.02 dB apart, and a margin of 15.9 dB between the active level and the threshold,
// interpolated in dB. Absent for silence (below -100 dBFS), for less than 0.1 s, and for signals
// that never clear the margin.
[[nodiscard]] std::optional<SpeechLevel> active_speech_level(std::span<const float> samples,
                                                             int sample_rate);

// 10 log10 of the mean square [dBFS]; -infinity for silence or no samples.
[[nodiscard]] double rms_dbfs(std::span<const float> samples);

}  // namespace desta::datagen
