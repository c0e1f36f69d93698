// How reverberant a room sounds from the speech alone, without its impulse response.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

namespace desta::datagen {

struct BlindClarity {
  double c50_db = 0;        // -5 to 25; what lies near 25 may be any drier room, or none at all
  double deviation_db = 0;  // standard deviation of the error at this SNR (bench/RESULTS.md)
};

// C50 from the distribution of decay rates in the speech's own spectral bands: Wen, Habets and
// Naylor, "Blind estimation of reverberation time based on the distribution of signal decay rates",
// ICASSP 2008. A room cannot fall silent faster than its own decay, so steep decays vanish
// from the distribution. Departures from the paper: quantiles of the distribution beside its
// (negative-side) variance, twelve mel bands, decays kept clear of the noise floor, and the map goes
// straight to C50 instead of to T60. Its coefficients are a least-squares fit on
// synthetic speech in exponential and in image-source rooms (`bench_metadata fit` prints them).
//
// `snr_db` is the recording's, as speech_activity() gives it. Absent below 10 dB of SNR, with fewer
// than 40 decays to count (about a second of speech), and for rates below 12 kHz. A recording's own room
// is part of what is measured.
[[nodiscard]] std::optional<BlindClarity> blind_c50(std::span<const float> samples,
                                                    int sample_rate, double snr_db);

// What the map is given: the logarithms of the quantiles and of the variance of the decay rates [dB/s].
inline constexpr std::size_t kDecayFeatures = 7;
using DecayFeatures = std::array<double, kDecayFeatures>;
[[nodiscard]] std::optional<DecayFeatures> decay_features(std::span<const float> samples,
                                                          int sample_rate);

// The map's terms: 1, the features, their squares. C50 is their product with the coefficients.
inline constexpr std::size_t kClarityTerms = 1 + 2 * kDecayFeatures;
[[nodiscard]] std::array<double, kClarityTerms> clarity_terms(const DecayFeatures& features);

}  // namespace desta::datagen
