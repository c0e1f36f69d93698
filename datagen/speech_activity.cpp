#include "datagen/speech_activity.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace desta::datagen {
namespace {

constexpr double kMinimumSeconds = 0.3;
constexpr double kStepSeconds = 0.01;
constexpr double kFloorPower = 1e-9;   // -90 dBFS
constexpr double kLongestRest = 0.4;   // s
constexpr double kShortestRun = 0.05;  // s
constexpr double kRise = 0.4;          // part of the way from the floor to the top
constexpr double kMinimumDepthDb = 3;
constexpr double kMaximumDepthDb = 30;
constexpr double kMinimumSnrDb = -10;
constexpr double kMaximumSnrDb = 60;

// One section of a second-order Butterworth filter (bilinear transform).
class Butterworth {
 public:
  enum class Pass { kLow, kHigh };
  Butterworth(Pass pass, double cutoff, double rate) {
    const double k = std::tan(std::numbers::pi * std::min(cutoff / rate, 0.49));
    const double norm = 1.0 / (1.0 + std::numbers::sqrt2 * k + k * k);
    b0_ = (pass == Pass::kLow ? k * k : 1.0) * norm;
    b1_ = pass == Pass::kLow ? 2.0 * b0_ : -2.0 * b0_;
    a1_ = 2.0 * (k * k - 1.0) * norm;
    a2_ = (1.0 - std::numbers::sqrt2 * k + k * k) * norm;
  }
  double operator()(double x) {
    const double y = b0_ * x + z1_;
    z1_ = b1_ * x - a1_ * y + z2_;
    z2_ = b0_ * x - a2_ * y;
    return y;
  }

 private:
  double b0_, b1_, a1_, a2_;
  double z1_ = 0.0;
  double z2_ = 0.0;
};

struct FramePowers {
  std::vector<double> whole;  // mean squares of the signal as it is
  std::vector<double> band;   // and of its speech band
};

FramePowers frame_powers(std::span<const float> samples, int rate) {
  using Pass = Butterworth::Pass;
  Butterworth high(Pass::kHigh, 200, rate);
  Butterworth high_again(Pass::kHigh, 200, rate);
  Butterworth low(Pass::kLow, 3800, rate);
  const auto step = static_cast<std::size_t>(kStepSeconds * rate);
  const std::size_t steps = samples.size() / step;
  FramePowers half;
  for (std::size_t s = 0; s < steps; ++s) {
    double whole = 0.0;
    double band = 0.0;
    for (std::size_t i = s * step; i < (s + 1) * step; ++i) {
      const double x = samples[i];
      const double y = low(high_again(high(x)));
      whole += x * x;
      band += y * y;
    }
    half.whole.push_back(whole / static_cast<double>(step));
    half.band.push_back(band / static_cast<double>(step));
  }
  for (std::size_t s = 0; s + 1 < steps; ++s) {  // frames of two steps
    half.whole[s] = (half.whole[s] + half.whole[s + 1]) / 2;
    half.band[s] = (half.band[s] + half.band[s + 1]) / 2;
  }
  return half;
}

std::vector<double> smooth(const std::vector<double>& values, std::size_t reach) {
  std::vector<double> result(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::size_t first = i < reach ? 0 : i - reach;
    const std::size_t last = std::min(values.size() - 1, i + reach);
    double sum = 0.0;
    for (std::size_t j = first; j <= last; ++j) {
      sum += values[j];
    }
    result[i] = sum / static_cast<double>(last - first + 1);
  }
  return result;
}

double percentile(std::vector<double> values, double part) {
  const auto index = static_cast<std::size_t>(part * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(index),
                   values.end());
  return values[index];
}

// Turns every run of `value` that is shorter than `shortest` into its opposite, except where it
// touches an end and `inner_only` is set.
void flip_short_runs(std::vector<bool>& flags, bool value, std::size_t shortest, bool inner_only) {
  for (std::size_t start = 0; start < flags.size();) {
    std::size_t end = start;
    while (end < flags.size() && flags[end] == flags[start]) {
      ++end;
    }
    const bool inner = start > 0 && end < flags.size();
    if (flags[start] == value && end - start < shortest && (inner || !inner_only)) {
      std::fill(flags.begin() + static_cast<std::ptrdiff_t>(start),
                flags.begin() + static_cast<std::ptrdiff_t>(end), !value);
    }
    start = end;
  }
}

double snr_of(const std::vector<double>& powers, const std::vector<bool>& active) {
  // The quietest of 90 ms averages lie a little below the noise's mean, by the bias below
  // (Gaussian noise; measured).
  constexpr std::size_t kReach = 4;
  constexpr double kBias = 1.12;
  constexpr std::size_t kQuietFrames = 14;
  constexpr std::size_t kQuietPart = 20;
  std::vector<double> sorted = smooth(powers, kReach);
  std::sort(sorted.begin(), sorted.end());
  const std::size_t quiet =
      std::min(sorted.size(), std::max(kQuietFrames, sorted.size() / kQuietPart));
  double noise = 0.0;
  for (std::size_t i = 0; i < quiet; ++i) {
    noise += sorted[i];
  }
  noise *= kBias / static_cast<double>(quiet);
  double loud = 0.0;
  std::size_t frames = 0;
  for (std::size_t i = 0; i < powers.size(); ++i) {
    if (active[i]) {
      loud += powers[i];
      ++frames;
    }
  }
  loud = frames > 0 ? loud / static_cast<double>(frames) : 0.0;
  const double speech = std::max(loud - noise, loud * 1e-2);
  if (noise <= speech * std::pow(10.0, -kMaximumSnrDb / 10.0)) {
    return kMaximumSnrDb;
  }
  return std::max(kMinimumSnrDb, 10.0 * std::log10(speech / noise));
}

}  // namespace

std::optional<SpeechActivity> speech_activity(std::span<const float> samples, int sample_rate) {
  if (static_cast<double>(samples.size()) < kMinimumSeconds * sample_rate) {
    return std::nullopt;
  }
  const FramePowers powers = frame_powers(samples, sample_rate);
  const std::vector<double> levels = smooth(powers.band, 1);
  const double top = percentile(levels, 0.95);
  const double floor = percentile(levels, 0.05);
  if (top < kFloorPower) {
    return std::nullopt;
  }
  const double range_db = 10.0 * std::log10(top / std::max(floor, kFloorPower * 1e-3));
  const double depth_db = std::clamp((1.0 - kRise) * range_db, kMinimumDepthDb, kMaximumDepthDb);
  const double threshold = top * std::pow(10.0, -depth_db / 10.0);
  SpeechActivity result;
  for (const double level : levels) {
    result.active.push_back(level >= threshold);
  }
  flip_short_runs(result.active, true, static_cast<std::size_t>(kShortestRun / kStepSeconds),
                  false);
  flip_short_runs(result.active, false, static_cast<std::size_t>(kLongestRest / kStepSeconds),
                  true);
  result.speech_seconds = kStepSeconds * static_cast<double>(std::count(result.active.begin(),
                                                                        result.active.end(), true));
  if (result.speech_seconds == 0.0) {
    return std::nullopt;
  }
  result.snr_db = snr_of(powers.whole, result.active);
  return result;
}

}  // namespace desta::datagen
