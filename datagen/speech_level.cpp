#include "datagen/speech_level.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace desta::datagen {
namespace {

constexpr int kThresholds = 20;         // from full scale down by 6.02 dB each
constexpr double kMarginDb = 15.9;      // P.56, 6.2
constexpr double kTimeConstant = 0.03;  // s
constexpr double kHangover = 0.2;       // s
constexpr double kSilenceDbfs = -100.0;
constexpr double kMinimumSeconds = 0.1;

}  // namespace

double rms_dbfs(std::span<const float> samples) {
  double sum = 0.0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * sample;
  }
  return sum > 0.0 ? 10.0 * std::log10(sum / static_cast<double>(samples.size()))
                   : -std::numeric_limits<double>::infinity();
}

std::optional<SpeechLevel> active_speech_level(std::span<const float> samples, int sample_rate) {
  if (static_cast<double>(samples.size()) < kMinimumSeconds * sample_rate ||
      rms_dbfs(samples) < kSilenceDbfs) {
    return std::nullopt;
  }
  const double decay = std::exp(-1.0 / (kTimeConstant * sample_rate));
  const auto hangover = static_cast<std::int32_t>(kHangover * sample_rate);
  std::array<float, kThresholds> threshold{};
  std::array<std::int32_t, kThresholds> active{};  // samples
  std::array<std::int32_t, kThresholds> idle{};    // samples since the envelope was above
  for (int j = 0; j < kThresholds; ++j) {
    threshold[j] = static_cast<float>(std::ldexp(1.0, -j));
    idle[j] = hangover;
  }
  double energy = 0.0;
  double first = 0.0;
  double second = 0.0;
  for (const float sample : samples) {
    energy += static_cast<double>(sample) * sample;
    first = decay * first + (1.0 - decay) * std::abs(sample);
    second = decay * second + (1.0 - decay) * first;
    const auto envelope = static_cast<float>(second);
    for (int j = 0; j < kThresholds; ++j) {
      idle[j] = envelope >= threshold[j] ? 0 : idle[j] + 1;
      active[j] += idle[j] <= hangover ? 1 : 0;
    }
  }
  // Walk down the thresholds until the active level is the margin above the threshold.
  double previous_level = 0.0;
  double previous_gap = 0.0;
  bool has_previous = false;
  for (int j = 0; j < kThresholds; ++j) {
    if (active[j] == 0) {
      continue;
    }
    const double level = 10.0 * std::log10(energy / static_cast<double>(active[j]));
    const double gap = level - 20.0 * std::log10(threshold[j]) - kMarginDb;
    if (gap >= 0.0) {
      double result = level;
      if (has_previous) {
        const double part = previous_gap / (previous_gap - gap);
        result = previous_level + part * (level - previous_level);
      }
      const double mean = energy / static_cast<double>(samples.size());
      const double activity = mean / std::pow(10.0, result / 10.0);
      return SpeechLevel{.dbfs = result, .activity = std::fmin(activity, 1.0)};
    }
    has_previous = true;
    previous_level = level;
    previous_gap = gap;
  }
  return std::nullopt;
}

}  // namespace desta::datagen
