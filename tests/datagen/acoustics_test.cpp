#include "datagen/acoustics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <complex>

#include "datagen/fft.h"
#include "datagen/resample.h"
#include "datagen/speech_level.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

using runtime::ConfigError;
using runtime::DataError;

TEST(Fft, TransformsAnImpulseAndACosine) {
  std::vector<std::complex<double>> impulse(8);
  impulse[1] = 1.0;  // X[k] = exp(-2 pi i k / 8)
  fft(impulse);
  EXPECT_NEAR(impulse[2].real(), 0.0, 1e-12);
  EXPECT_NEAR(impulse[2].imag(), -1.0, 1e-12);
  fft(impulse, true);
  EXPECT_NEAR(impulse[1].real(), 1.0, 1e-12);
  EXPECT_NEAR(std::abs(impulse[3]), 0.0, 1e-12);
  std::vector<std::complex<double>> odd(6);
  EXPECT_THROW(fft(odd), runtime::InternalError);
}

TEST(Fft, ConvolvesLikeTheDefinition) {
  runtime::Random random(1);
  for (const auto& [n, m] : {std::pair<std::size_t, std::size_t>{1, 1},
                             {5, 3},
                             {9000, 17},
                             {300, 5000},
                             {20000, 6000}}) {
    std::vector<float> signal(n);
    std::vector<float> response(m);
    std::generate(signal.begin(), signal.end(),
                  [&] { return static_cast<float>(random.normal()); });
    std::generate(response.begin(), response.end(),
                  [&] { return static_cast<float>(random.normal()); });
    const std::vector<float> result = convolve(signal, response);
    ASSERT_EQ(result.size(), n + m - 1);
    for (std::size_t k = 0; k < result.size(); k += 1 + result.size() / 50) {
      double sum = 0.0;
      for (std::size_t j = 0; j < m; ++j) {
        if (k >= j && k - j < n) {
          sum += static_cast<double>(signal[k - j]) * response[j];
        }
      }
      EXPECT_NEAR(result[k], sum, 1e-3) << n << " " << m << " at " << k;
    }
  }
  EXPECT_TRUE(convolve({}, std::vector<float>{1.0F}).empty());
}

TEST(Resample, KeepsLengthAndPitchInOnePieceAndInMany) {
  const Waveform wave = sine(440, 1.0, -6, 48000);
  const std::vector<float> whole = resample(wave.samples, 48000, 16000);
  EXPECT_NEAR(static_cast<double>(whole.size()), 16000, 2);
  Resampler resampler(48000, 16000);
  std::vector<float> pieces;
  for (std::size_t start = 0; start < wave.samples.size(); start += 777) {
    const std::size_t count = std::min<std::size_t>(777, wave.samples.size() - start);
    resampler.push(std::span(wave.samples).subspan(start, count), pieces);
  }
  resampler.finish(pieces);
  EXPECT_EQ(whole, pieces);
  EXPECT_NEAR(rms_dbfs(whole), -6.0, 0.05);
}

TEST(SpeechLevel, OfASineIsItsRms) {
  const auto level = active_speech_level(sine(300, 3.0, -20).samples, kSampleRate);
  ASSERT_TRUE(level.has_value());
  EXPECT_NEAR(level->dbfs, -20.0, 0.1);
  EXPECT_NEAR(level->activity, 1.0, 0.02);
}

TEST(SpeechLevel, LeavesPausesOut) {
  Waveform wave = sine(300, 2.0, -20);
  wave.samples.resize(wave.samples.size() * 3);  // 4 s of silence behind
  const auto level = active_speech_level(wave.samples, kSampleRate);
  ASSERT_TRUE(level.has_value());
  // The hangover counts 0.2 s of silence, and the envelope's own decay some 0.1 s more:
  // -20 - 10 log10(2.3 / 2) = -20.6.
  EXPECT_NEAR(level->dbfs, -20.5, 0.3);
  EXPECT_NEAR(level->activity, 2.25 / 6.0, 0.03);
  EXPECT_NEAR(rms_dbfs(wave.samples), -20.0 - 10.0 * std::log10(3.0), 0.01);
}

TEST(SpeechLevel, IsAbsentForSilenceAndForAClick) {
  EXPECT_FALSE(active_speech_level(std::vector<float>(16000), kSampleRate).has_value());
  EXPECT_FALSE(active_speech_level(std::vector<float>(100, 0.5F), kSampleRate).has_value());
  EXPECT_FALSE(active_speech_level({}, kSampleRate).has_value());
}

TEST(Acoustics, SetsTheLevelAsked) {
  Waveform wave = sine(300, 2.0, -3);
  set_level(wave, -41.5);
  EXPECT_NEAR(active_speech_level(wave.samples, kSampleRate)->dbfs, -41.5, 0.1);
  Waveform silence{std::vector<float>(16000), kSampleRate};
  EXPECT_THROW(set_level(silence, -20), DataError);
}

TEST(Acoustics, AddsNoiseOfTheStatedPower) {
  for (const NoiseKind kind :
       {NoiseKind::kWhite, NoiseKind::kPink, NoiseKind::kHum, NoiseKind::kBabble}) {
    runtime::Random random(5);
    const Waveform clean = sine(300, 3.0, -20);
    Waveform noisy = clean;
    add_noise(noisy, 12.0, kind, random);
    std::vector<float> noise(clean.samples.size());
    for (std::size_t i = 0; i < noise.size(); ++i) {
      noise[i] = noisy.samples[i] - clean.samples[i];
    }
    EXPECT_NEAR(rms_dbfs(noise), -32.0, 0.1) << name_of(kind);
  }
}

TEST(Acoustics, ImpulseResponseHasTheStatedC50) {
  for (const double c50 : {-5.0, 0.0, 3.0, 10.0, 20.0, 40.0}) {
    runtime::Random random(6);
    const std::vector<float> response = make_impulse_response(c50, kSampleRate, random);
    EXPECT_NEAR(c50_of(response, kSampleRate), c50, 1e-3);
    // T60 = 0.05 s * 6 ln 10 / ln(1 + 10^(C50/10)): 1.0 s at 0 dB, 0.29 s at 10 dB.
    const double t60 = 0.05 * 6.0 * std::log(10.0) / std::log(1.0 + std::pow(10.0, c50 / 10.0));
    EXPECT_NEAR(static_cast<double>(response.size()) / kSampleRate, std::max(t60, 0.06), 1e-3);
  }
  runtime::Random random(6);
  EXPECT_THROW(static_cast<void>(make_impulse_response(80, kSampleRate, random)), ConfigError);
}

TEST(Acoustics, ReverberationKeepsTheLevelAndAddsATail) {
  runtime::Random random(7);
  Waveform wave = sine(300, 1.0, -20);
  add_reverberation(wave, 3.0, random);
  EXPECT_NEAR(rms_dbfs(wave.samples), -20.0, 0.01);
  EXPECT_NEAR(wave.seconds(), 1.4, 1e-3);
}

TEST(Acoustics, LimitsPeaksAndLeavesQuietSoundAlone) {
  Waveform loud = sine(300, 0.5, 3);
  limit_peak(loud, 0.99);
  EXPECT_LE(*std::max_element(loud.samples.begin(), loud.samples.end()), 0.99F);
  const Waveform quiet = sine(300, 0.5, -10);
  Waveform same = quiet;
  limit_peak(same, 0.99);
  EXPECT_EQ(same.samples, quiet.samples);
}

}  // namespace
}  // namespace desta::datagen
