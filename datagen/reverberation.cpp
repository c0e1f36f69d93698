#include "datagen/reverberation.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "datagen/fft.h"

namespace desta::datagen {
namespace {

constexpr std::size_t kBands = 12;
constexpr double kLowestHz = 200;
constexpr double kHighestHz = 6000;
constexpr double kWindowSeconds = 0.02;
constexpr double kStepSeconds = 0.01;
constexpr std::size_t kSlopeFrames = 8;  // a decay is watched for 80 ms
constexpr double kDepthDb = 30;          // below the band's loud frames nothing is looked at,
constexpr double kFloorGapDb = 6;        // nor so close to its noise floor
constexpr std::size_t kMinimumDecays = 40;
constexpr std::array<double, kDecayFeatures - 1> kQuantiles = {0.10, 0.25, 0.50, 0.75, 0.90, 0.97};

constexpr double kMinimumSnrDb = 10;
constexpr double kLowestC50 = -5;
constexpr double kHighestC50 = 25;

constexpr std::array<double, kClarityTerms> kCoefficients = {
    -174.186, -11.1683, -30.9158, -9.73011, 140.094, 213.756, -73.961, -112.155,
    1.92877,  3.96024,  0.733906, -14.6447, -19.1236, 6.3573, 7.32988};

double mel(double hz) { return 2595.0 * std::log10(1.0 + hz / 700.0); }

// Which band each bin of the spectrum belongs to; kBands for none.
std::vector<std::size_t> band_of_bins(std::size_t fft_size, int rate) {
  std::vector<std::size_t> bands(fft_size / 2 + 1, kBands);
  const double low = mel(kLowestHz);
  const double step = (mel(kHighestHz) - low) / kBands;
  for (std::size_t bin = 0; bin < bands.size(); ++bin) {
    const double hz = static_cast<double>(bin) * rate / static_cast<double>(fft_size);
    const double place = (mel(hz) - low) / step;
    if (place >= 0.0 && place < kBands) {
      bands[bin] = static_cast<std::size_t>(place);
    }
  }
  return bands;
}

using Levels = std::array<std::vector<double>, kBands>;  // dB, one value for every 10 ms

// Two frames go through one transform, as its real and its imaginary part.
Levels band_levels(std::span<const float> samples, int rate) {
  const auto window = static_cast<std::size_t>(kWindowSeconds * rate);
  const auto step = static_cast<std::size_t>(kStepSeconds * rate);
  const std::size_t size = next_power_of_two(window);
  const std::vector<std::size_t> band_of = band_of_bins(size, rate);
  std::vector<double> hann(window);
  for (std::size_t i = 0; i < window; ++i) {
    hann[i] = 0.5 - 0.5 * std::cos(2.0 * std::numbers::pi * static_cast<double>(i) /
                                   static_cast<double>(window - 1));
  }
  const std::size_t frames = samples.size() < window ? 0 : 1 + (samples.size() - window) / step;
  Levels levels;
  for (auto& band : levels) {
    band.resize(frames);
  }
  std::array<double, kBands> bins{};
  for (const std::size_t band : band_of) {
    if (band < kBands) {
      ++bins[band];
    }
  }
  std::vector<std::complex<double>> spectrum(size);
  for (std::size_t frame = 0; frame < frames; frame += 2) {
    const bool has_second = frame + 1 < frames;
    std::fill(spectrum.begin(), spectrum.end(), 0.0);
    for (std::size_t i = 0; i < window; ++i) {
      const std::size_t at = frame * step + i;
      spectrum[i] = {hann[i] * samples[at], has_second ? hann[i] * samples[at + step] : 0.0};
    }
    fft(spectrum);
    std::array<double, kBands> first{};
    std::array<double, kBands> second{};
    for (std::size_t bin = 1; bin < size / 2; ++bin) {
      const std::size_t band = band_of[bin];
      if (band < kBands) {
        const std::complex<double> a = spectrum[bin];
        const std::complex<double> b = std::conj(spectrum[size - bin]);
        first[band] += 0.25 * std::norm(a + b);
        second[band] += 0.25 * std::norm(a - b);
      }
    }
    for (std::size_t band = 0; band < kBands; ++band) {
      const auto level = [&](double power) {
        return 10.0 * std::log10(power / std::max(1.0, bins[band]) + 1e-12);
      };
      levels[band][frame] = level(first[band]);
      if (has_second) {
        levels[band][frame + 1] = level(second[band]);
      }
    }
  }
  return levels;
}

double quantile(const std::vector<double>& sorted, double part) {
  const double place = part * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

// How fast [dB/s] each stretch of 80 ms falls that falls at all and is heard to its end.
void add_decays(const std::vector<double>& levels, std::vector<double>& decays) {
  if (levels.size() < kSlopeFrames) {
    return;
  }
  std::vector<double> sorted = levels;
  std::sort(sorted.begin(), sorted.end());
  const double limit =
      std::max(quantile(sorted, 0.95) - kDepthDb, quantile(sorted, 0.05) + kFloorGapDb);
  double norm = 0.0;
  std::array<double, kSlopeFrames> weights;
  for (std::size_t i = 0; i < kSlopeFrames; ++i) {
    weights[i] = kStepSeconds * (static_cast<double>(i) - (kSlopeFrames - 1) / 2.0);
    norm += weights[i] * weights[i];
  }
  for (std::size_t start = 0; start + kSlopeFrames <= levels.size(); ++start) {
    double slope = 0.0;
    double lowest = levels[start];
    for (std::size_t i = 0; i < kSlopeFrames; ++i) {
      slope += weights[i] * levels[start + i];
      lowest = std::min(lowest, levels[start + i]);
    }
    if (slope < 0.0 && lowest > limit) {
      decays.push_back(-slope / norm);
    }
  }
}

double deviation_at(double snr_db) { return snr_db >= 20 ? 1.8 : 3.5; }

}  // namespace

std::optional<DecayFeatures> decay_features(std::span<const float> samples, int sample_rate) {
  if (sample_rate < 2 * kHighestHz) {
    return std::nullopt;
  }
  std::vector<double> decays;
  for (const auto& band : band_levels(samples, sample_rate)) {
    add_decays(band, decays);
  }
  if (decays.size() < kMinimumDecays) {
    return std::nullopt;
  }
  std::sort(decays.begin(), decays.end());
  DecayFeatures features{};
  for (std::size_t i = 0; i < kQuantiles.size(); ++i) {
    features[i] = std::log(quantile(decays, kQuantiles[i]) + 1.0);
  }
  double mean = 0.0;
  for (const double decay : decays) {
    mean += decay / static_cast<double>(decays.size());
  }
  double variance = 0.0;
  for (const double decay : decays) {
    variance += (decay - mean) * (decay - mean) / static_cast<double>(decays.size());
  }
  features.back() = std::log(variance + 1.0);
  return features;
}

std::array<double, kClarityTerms> clarity_terms(const DecayFeatures& features) {
  std::array<double, kClarityTerms> terms{1.0};
  for (std::size_t i = 0; i < kDecayFeatures; ++i) {
    terms[1 + i] = features[i];
    terms[1 + kDecayFeatures + i] = features[i] * features[i];
  }
  return terms;
}

std::optional<BlindClarity> blind_c50(std::span<const float> samples, int sample_rate,
                                      double snr_db) {
  if (snr_db < kMinimumSnrDb) {
    return std::nullopt;
  }
  const auto features = decay_features(samples, sample_rate);
  if (!features) {
    return std::nullopt;
  }
  const auto terms = clarity_terms(*features);
  double c50 = 0.0;
  for (std::size_t i = 0; i < kClarityTerms; ++i) {
    c50 += kCoefficients[i] * terms[i];
  }
  return BlindClarity{.c50_db = std::clamp(c50, kLowestC50, kHighestC50),
                      .deviation_db = deviation_at(snr_db)};
}

}  // namespace desta::datagen
