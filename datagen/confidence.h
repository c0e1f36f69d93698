// How sure a measured word is: what is known of a method's errors, applied to the value at hand.
#pragma once

#include <functional>

namespace desta::datagen {

// A method's errors: mostly Gaussian, and a share that are wrong altogether (an octave, say).
struct ErrorModel {
  double deviation = 0;   // in the value's unit, or of the value where `relative`
  bool relative = false;
  double gross = 0;       // the share of gross errors
};

// From the error tables of bench/RESULTS.md (`bench/metadata.sh` repeats them).
// The pitch is an octave off, or another's, in one recording of twelve at 5 dB of SNR and in few others.
inline constexpr ErrorModel kPitchErrors{.deviation = 0.03, .relative = true, .gross = 0.02};
inline constexpr ErrorModel kNoisyPitchErrors{.deviation = 0.03, .relative = true, .gross = 0.08};
inline constexpr ErrorModel kVolumeErrors{.deviation = 0.4};
inline constexpr ErrorModel kLoudnessErrors{.deviation = 0.1};  // EBU Tech 3341 allows 0.1 LU
inline constexpr ErrorModel kSpeedErrors{.deviation = 0.08, .relative = true};
inline constexpr ErrorModel kNoisySpeedErrors{.deviation = 0.14, .relative = true};
inline constexpr ErrorModel kSnrErrors{.deviation = 1.8};
inline constexpr double kNoisyDb = 10;  // below this SNR the noisy ones hold

// The probability that the true value has the word of `value`: the part of a Gaussian around it that
// `same_word` holds for, less the gross errors. 0 to 1.
[[nodiscard]] double word_confidence(double value, const ErrorModel& errors,
                                     const std::function<bool(double)>& same_word);

// How likely a share of active time lies within 10 percentage points of the truth, by the SNR [dB].
[[nodiscard]] double activity_confidence(double snr_db);

}  // namespace desta::datagen
