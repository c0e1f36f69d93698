#include "datagen/acoustics.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "datagen/fft.h"
#include "datagen/speech_level.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

using runtime::ConfigError;
using runtime::DataError;

constexpr double kEarlySeconds = 0.05;
constexpr double kMaximumTail = 0.4;  // s

double speech_dbfs_of(const Waveform& waveform) {
  const auto level = active_speech_level(waveform.samples, waveform.sample_rate);
  if (!level) {
    throw DataError("a waveform of {:.2f} s holds no speech whose level could be set",
                    waveform.seconds());
  }
  return level->dbfs;
}

void scale(std::vector<float>& samples, double factor) {
  for (float& sample : samples) {
    sample = static_cast<float>(sample * factor);
  }
}

void scale_to_unit_rms(std::vector<float>& samples) {
  const double rms = std::pow(10.0, rms_dbfs(samples) / 20.0);
  if (rms > 0.0) {
    scale(samples, 1.0 / rms);
  }
}

double energy_of(std::span<const float> samples) {
  double sum = 0.0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * sample;
  }
  return sum;
}

// Paul Kellet's filter bank: -3 dB per octave within 0.5 dB above 10 Hz.
void make_pink(std::vector<float>& samples, runtime::Random& random) {
  double b0 = 0, b1 = 0, b2 = 0, b3 = 0, b4 = 0, b5 = 0, b6 = 0;
  for (float& sample : samples) {
    const double white = random.normal();
    b0 = 0.99886 * b0 + white * 0.0555179;
    b1 = 0.99332 * b1 + white * 0.0750759;
    b2 = 0.96900 * b2 + white * 0.1538520;
    b3 = 0.86650 * b3 + white * 0.3104856;
    b4 = 0.55000 * b4 + white * 0.5329522;
    b5 = -0.7616 * b5 - white * 0.0168980;
    sample = static_cast<float>(b0 + b1 + b2 + b3 + b4 + b5 + b6 + white * 0.5362);
    b6 = white * 0.115926;
  }
}

void make_hum(std::vector<float>& samples, int rate, runtime::Random& random) {
  constexpr int kHarmonics = 8;
  double phase[kHarmonics];
  for (double& value : phase) {
    value = random.uniform(0.0, 2.0 * std::numbers::pi);
  }
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double base = 2.0 * std::numbers::pi * 50.0 * static_cast<double>(i) / rate;
    double sum = 0.1 * random.normal();
    for (int harmonic = 1; harmonic <= kHarmonics; ++harmonic) {
      sum += std::sin(harmonic * base + phase[harmonic - 1]) / harmonic;
    }
    samples[i] = static_cast<float>(sum);
  }
}

// White noise through a second-order low pass at 500 Hz and a high pass at 100 Hz (close to the
// long-term average speech spectrum), times an envelope that wanders at 4 Hz.
void make_babble(std::vector<float>& samples, int rate, runtime::Random& random) {
  const double low = 1.0 - std::exp(-2.0 * std::numbers::pi * 500.0 / rate);
  const double high = 1.0 - std::exp(-2.0 * std::numbers::pi * 100.0 / rate);
  const double slow = 1.0 - std::exp(-2.0 * std::numbers::pi * 4.0 / rate);
  const double slow_rms = std::sqrt(slow / (2.0 - slow));
  double first = 0.0;
  double second = 0.0;
  double rumble = 0.0;
  double swell = slow_rms * random.normal();
  for (float& sample : samples) {
    first += low * (random.normal() - first);
    second += low * (first - second);
    rumble += high * (second - rumble);
    swell += slow * (random.normal() - swell);
    const double envelope = std::max(0.2, 1.0 + 0.4 * swell / slow_rms);
    sample = static_cast<float>(envelope * (second - rumble));
  }
}

}  // namespace

std::string_view name_of(NoiseKind kind) {
  switch (kind) {
    case NoiseKind::kWhite:
      return "white";
    case NoiseKind::kPink:
      return "pink";
    case NoiseKind::kHum:
      return "hum";
    case NoiseKind::kBabble:
      return "babble";
  }
  return "unknown";
}

void set_level(Waveform& waveform, double speech_dbfs) {
  scale(waveform.samples, std::pow(10.0, (speech_dbfs - speech_dbfs_of(waveform)) / 20.0));
}

std::vector<float> make_noise(std::size_t samples, int sample_rate, NoiseKind kind,
                              runtime::Random& random) {
  std::vector<float> noise(samples);
  switch (kind) {
    case NoiseKind::kWhite:
      std::generate(noise.begin(), noise.end(),
                    [&] { return static_cast<float>(random.normal()); });
      break;
    case NoiseKind::kPink:
      make_pink(noise, random);
      break;
    case NoiseKind::kHum:
      make_hum(noise, sample_rate, random);
      break;
    case NoiseKind::kBabble:
      make_babble(noise, sample_rate, random);
      break;
  }
  scale_to_unit_rms(noise);
  return noise;
}

void add_noise(Waveform& waveform, double snr_db, NoiseKind kind, runtime::Random& random) {
  const double noise_rms = std::pow(10.0, (speech_dbfs_of(waveform) - snr_db) / 20.0);
  const std::vector<float> noise =
      make_noise(waveform.samples.size(), waveform.sample_rate, kind, random);
  for (std::size_t i = 0; i < noise.size(); ++i) {
    waveform.samples[i] += static_cast<float>(noise_rms * noise[i]);
  }
}

std::vector<float> make_impulse_response(double c50_db, int sample_rate, runtime::Random& random) {
  if (!(c50_db >= -10.0 && c50_db <= 60.0)) {
    throw ConfigError("C50 of {} dB: it must lie between -10 and 60 dB", c50_db);
  }
  const double ratio = std::pow(10.0, c50_db / 10.0);
  const double t60 = kEarlySeconds * 6.0 * std::numbers::ln10 / std::log1p(ratio);
  const auto early = static_cast<std::size_t>(std::lround(kEarlySeconds * sample_rate));
  const std::size_t length =
      std::max(static_cast<std::size_t>(t60 * sample_rate), early + sample_rate / 100);
  std::vector<float> response(length);
  const double decay = 3.0 * std::numbers::ln10 / (t60 * sample_rate);
  for (std::size_t i = 1; i < length; ++i) {
    response[i] = static_cast<float>(random.normal() * std::exp(-decay * static_cast<double>(i)));
  }
  const std::span<float> all(response);
  response[0] = static_cast<float>(std::sqrt(energy_of(all.first(early))));
  const double late_gain =
      std::sqrt(energy_of(all.first(early)) / (ratio * energy_of(all.subspan(early))));
  for (float& sample : all.subspan(early)) {
    sample = static_cast<float>(sample * late_gain);
  }
  return response;
}

std::vector<float> from_direct_sound(const std::vector<float>& response) {
  float peak = 0.0F;
  for (const float sample : response) {
    peak = std::max(peak, std::abs(sample));
  }
  if (peak == 0.0F) {
    throw DataError("an impulse response of {} samples is silent", response.size());
  }
  const auto start = std::find_if(response.begin(), response.end(),
                                  [&](float sample) { return std::abs(sample) >= 0.1F * peak; });
  return {start, response.end()};
}

double c50_of(const std::vector<float>& response, int sample_rate) {
  const auto early =
      std::min(response.size(), static_cast<std::size_t>(std::lround(kEarlySeconds * sample_rate)));
  const std::span<const float> all(response);
  return 10.0 * std::log10(energy_of(all.first(early)) / energy_of(all.subspan(early)));
}

void add_reverberation(Waveform& waveform, double c50_db, runtime::Random& random) {
  const std::vector<float> response = make_impulse_response(c50_db, waveform.sample_rate, random);
  const std::size_t before = waveform.samples.size();
  const double rms_before = rms_dbfs(waveform.samples);
  waveform.samples = convolve(waveform.samples, response);
  const auto tail = static_cast<std::size_t>(kMaximumTail * waveform.sample_rate);
  waveform.samples.resize(std::min(waveform.samples.size(), before + tail));
  const double rms_after = rms_dbfs(waveform.samples);
  if (std::isfinite(rms_before) && std::isfinite(rms_after)) {
    scale(waveform.samples, std::pow(10.0, (rms_before - rms_after) / 20.0));
  }
}

void limit_peak(Waveform& waveform, double peak) {
  float highest = 0.0F;
  for (const float sample : waveform.samples) {
    highest = std::max(highest, std::abs(sample));
  }
  if (highest <= peak) {
    return;
  }
  const double knee = peak / 2;
  for (float& sample : waveform.samples) {
    const double size = std::abs(sample);
    if (size > knee) {
      const double bent = knee + knee * std::tanh((size - knee) / knee);
      sample = static_cast<float>(std::copysign(bent, sample));
    }
  }
}

}  // namespace desta::datagen
