#include "datagen/pitch.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace desta::datagen {
namespace {

constexpr double kWindowSeconds = 0.025;
constexpr double kStepSeconds = 0.01;
constexpr std::size_t kMinimumVoicedFrames = 5;
constexpr std::size_t kPlentyOfFrames = 10;

// Second-order Butterworth low pass at 1 kHz, then every `keep`-th sample.
std::vector<float> low_pass(std::span<const float> samples, int rate, std::size_t keep) {
  const double k = std::tan(std::numbers::pi * 1000.0 / rate);
  const double norm = 1.0 / (1.0 + std::numbers::sqrt2 * k + k * k);
  const double b0 = k * k * norm;
  const double a1 = 2.0 * (k * k - 1.0) * norm;
  const double a2 = (1.0 - std::numbers::sqrt2 * k + k * k) * norm;
  std::vector<float> result;
  result.reserve(samples.size() / keep + 1);
  double z1 = 0.0;
  double z2 = 0.0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double x = samples[i];
    const double y = b0 * x + z1;
    z1 = 2.0 * b0 * x - a1 * y + z2;
    z2 = b0 * x - a2 * y;
    if (i % keep == 0) {
      result.push_back(static_cast<float>(y));
    }
  }
  return result;
}

// Where the parabola through three neighbouring values has its lowest point, in steps from the
// middle one.
double parabolic_offset(double left, double middle, double right) {
  const double curvature = left - 2.0 * middle + right;
  return curvature > 0.0 ? 0.5 * (left - right) / curvature : 0.0;
}

struct Lags {
  std::size_t shortest;
  std::size_t longest;
};

// The cumulative mean normalised difference function of one frame, for lags 0 to longest + 1.
void normalised_difference(const float* frame, std::size_t window, Lags lags,
                           std::vector<double>& difference) {
  difference.assign(lags.longest + 2, 0.0);
  for (std::size_t lag = 1; lag < difference.size(); ++lag) {
    float sum = 0.0F;
    for (std::size_t i = 0; i < window; ++i) {
      const float gap = frame[i] - frame[i + lag];
      sum += gap * gap;
    }
    difference[lag] = sum;
  }
  double running = 0.0;
  for (std::size_t lag = 1; lag < difference.size(); ++lag) {
    running += difference[lag];
    difference[lag] = running > 0.0 ? difference[lag] * static_cast<double>(lag) / running : 1.0;
  }
  difference[0] = 1.0;
}

// The period [samples] at the bottom of the first dip below the threshold, or 0 without one.
double first_dip(const std::vector<double>& difference, Lags lags, double threshold) {
  for (std::size_t lag = lags.shortest; lag <= lags.longest; ++lag) {
    if (difference[lag] >= threshold) {
      continue;
    }
    while (lag + 1 <= lags.longest && difference[lag + 1] < difference[lag]) {
      ++lag;
    }
    return static_cast<double>(lag) +
           parabolic_offset(difference[lag - 1], difference[lag], difference[lag + 1]);
  }
  return 0.0;
}

}  // namespace

std::optional<double> median_pitch(std::span<const float> samples, int sample_rate,
                                   const std::vector<bool>& active, const PitchOptions& options) {
  // 8 kHz is ample for what is left below the low pass, and costs a quarter of 16 kHz.
  const auto keep = static_cast<std::size_t>(std::max(1, sample_rate / 8000));
  const double rate = static_cast<double>(sample_rate) / static_cast<double>(keep);
  const std::vector<float> smooth = low_pass(samples, sample_rate, keep);
  const auto window = static_cast<std::size_t>(kWindowSeconds * rate);
  const auto step = static_cast<std::size_t>(kStepSeconds * rate);
  const Lags lags{.shortest = static_cast<std::size_t>(rate / options.maximum_hz),
                  .longest = static_cast<std::size_t>(rate / options.minimum_hz)};
  const std::size_t needed = window + lags.longest + 2;
  if (step == 0 || smooth.size() < needed) {
    return std::nullopt;
  }
  std::vector<double> energies;
  for (std::size_t start = 0; start + needed <= smooth.size(); start += step) {
    double energy = 0.0;
    for (std::size_t i = start; i < start + window; ++i) {
      energy += static_cast<double>(smooth[i]) * smooth[i];
    }
    energies.push_back(energy);
  }
  const double loudest = *std::max_element(energies.begin(), energies.end());
  const double gate = loudest * std::pow(10.0, -options.gate_db / 10.0);
  std::vector<double> periods;
  std::vector<double> noisy_periods;
  std::vector<double> scratch;
  for (std::size_t frame = 0; frame < energies.size(); ++frame) {
    const bool wanted = active.empty() || (frame < active.size() && active[frame]);
    if (!wanted || energies[frame] <= 0.0 || energies[frame] < gate) {
      continue;
    }
    normalised_difference(smooth.data() + frame * step, window, lags, scratch);
    if (const double period = first_dip(scratch, lags, options.threshold); period > 0.0) {
      periods.push_back(period);
    }
    if (const double period = first_dip(scratch, lags, options.noisy_threshold); period > 0.0) {
      noisy_periods.push_back(period);
    }
  }
  if (periods.size() < kPlentyOfFrames) {
    periods = std::move(noisy_periods);
  }
  if (periods.size() < kMinimumVoicedFrames) {
    return std::nullopt;
  }
  const auto middle = periods.begin() + static_cast<std::ptrdiff_t>(periods.size() / 2);
  std::nth_element(periods.begin(), middle, periods.end());
  return rate / *middle;
}

}  // namespace desta::datagen
