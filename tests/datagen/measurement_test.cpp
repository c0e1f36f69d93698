#include "datagen/measurement.h"

#include <gtest/gtest.h>

#include "datagen/acoustics.h"
#include "datagen/confidence.h"
#include "datagen/loudness.h"
#include "datagen/pitch.h"
#include "datagen/reverberation.h"
#include "datagen/speech_activity.h"
#include "datagen/synthesiser.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

constexpr const char* kText = "Peter and Maria walked to the station this morning.";

Voice voice(const char* variant) {
  for (const Split split : {Split::kTrain, Split::kHeldOut}) {
    for (const Voice& candidate : voices(split)) {
      if (candidate.variant == variant && candidate.accent == "American") {
        return candidate;
      }
    }
  }
  throw std::runtime_error(variant);
}

TEST(Pitch, OfASineIsItsFrequency) {
  for (const double hz : {80.0, 110.0, 220.0, 440.0}) {
    EXPECT_NEAR(*median_pitch(sine(hz, 1.0, -20).samples, kSampleRate), hz, hz / 220.0);
  }
  EXPECT_NEAR(*median_pitch(sine(220, 1.0, -20, 44100).samples, 44100), 220.0, 1.0);
}

TEST(Pitch, FindsAFundamentalThatIsMissing) {
  Waveform wave = sine(220, 1.0, -20);
  for (const double hz : {330.0, 440.0, 550.0}) {
    const Waveform harmonic = sine(hz, 1.0, -20);
    for (std::size_t i = 0; i < wave.samples.size(); ++i) {
      wave.samples[i] += harmonic.samples[i];
    }
  }
  EXPECT_NEAR(*median_pitch(wave.samples, kSampleRate), 110.0, 0.5);
}

TEST(Pitch, IsAbsentForNoiseHumAndSilence) {
  runtime::Random random(1);
  for (const NoiseKind kind : {NoiseKind::kWhite, NoiseKind::kHum}) {
    std::vector<float> noise = make_noise(32000, kSampleRate, kind, random);
    EXPECT_FALSE(median_pitch(noise, kSampleRate).has_value()) << name_of(kind);
  }
  EXPECT_FALSE(median_pitch(std::vector<float>(32000), kSampleRate).has_value());
  EXPECT_FALSE(median_pitch(std::vector<float>(100, 0.1F), kSampleRate).has_value());
}

TEST(Measurement, OfTooLittleOrNothingHasOnlyADuration) {
  for (const double seconds : {0.0, 0.1, 3.0}) {
    const Waveform silence{std::vector<float>(static_cast<std::size_t>(seconds * kSampleRate)),
                           kSampleRate};
    const Measurement measured = measure(silence, kText);
    EXPECT_DOUBLE_EQ(measured.seconds, seconds);
    EXPECT_FALSE(measured.pitch_hz || measured.volume_dbfs || measured.snr_db ||
                 measured.syllables_per_second || measured.loudness_lufs ||
                 measured.speech_seconds || measured.reverberation);
  }
}

TEST(Measurement, FindsTheSnrThatWasMixed) {
  Synthesiser synthesiser;
  const Waveform clean = synthesiser.speak(kText, voice("m3"), {});
  EXPECT_GT(*measure(clean, kText).snr_db, 40.0);
  for (const double snr : {3.0, 10.0, 16.0}) {
    for (const auto& [kind, within] :
         {std::pair{NoiseKind::kWhite, 1.5}, {NoiseKind::kHum, 1.5}, {NoiseKind::kPink, 3.5}}) {
      runtime::Random random(7);
      Waveform noisy = clean;
      set_level(noisy, -25);
      add_noise(noisy, snr, kind, random);
      EXPECT_NEAR(*measure(noisy, kText).snr_db, snr, within) << name_of(kind);
    }
  }
}

TEST(Measurement, FindsTheLevelThatWasSet) {
  Synthesiser synthesiser;
  Waveform wave = synthesiser.speak(kText, voice("f2"), {});
  set_level(wave, -33);
  EXPECT_NEAR(*measure(wave, kText).volume_dbfs, -33.0, 0.1);
}

// BS.1770: a sine of 997 Hz at full scale (-3.01 dBFS RMS) in one channel reads -3.01 LKFS.
TEST(Loudness, OfASineOf997HertzIsItsLevel) {
  for (const double dbfs : {-3.01, -23.0, -40.0}) {
    EXPECT_NEAR(*integrated_loudness(sine(997, 5, dbfs).samples, kSampleRate), dbfs, 0.1);
    EXPECT_NEAR(*integrated_loudness(sine(997, 5, dbfs, 48000).samples, 48000), dbfs, 0.1);
  }
}

// The K-weighting of BS.1770-4 (its coefficients) gives 100 Hz 1.82 dB less than 997 Hz and 4 kHz 3.28 dB more; silence is
// gated out, and so is what lies more than 10 LU below the rest.
TEST(Loudness, WeighsFrequenciesAndLeavesOutWhatIsQuiet) {
  const auto loudness = [](const Waveform& wave) {
    return *integrated_loudness(wave.samples, wave.sample_rate);
  };
  EXPECT_NEAR(loudness(sine(100, 5, -23)), -24.82, 0.2);
  EXPECT_NEAR(loudness(sine(4000, 5, -23)), -19.72, 0.2);
  Waveform wave = sine(997, 10, -23);
  const Waveform quiet = sine(997, 10, -45);
  wave.samples.insert(wave.samples.end(), quiet.samples.begin(), quiet.samples.end());
  wave.samples.resize(wave.samples.size() + 160000);
  EXPECT_NEAR(loudness(wave), -23.0, 0.2);
}

TEST(Loudness, IsAbsentForNextToNothing) {
  EXPECT_FALSE(integrated_loudness({}, kSampleRate).has_value());
  EXPECT_FALSE(integrated_loudness(sine(997, 0.3, -23).samples, kSampleRate).has_value());
  EXPECT_FALSE(integrated_loudness(sine(997, 3, -75).samples, kSampleRate).has_value());
}

TEST(BlindReverberation, IsFoundInSpeechAndFollowsTheRoom) {
  Synthesiser synthesiser;
  const Waveform clean = synthesiser.speak(
      "The old man and the small child walked slowly to the river.", voice("f3"), {});
  double previous = -10;
  for (const double c50 : {0.0, 5.0, 10.0, 15.0}) {
    double sum = 0;
    for (const std::uint64_t seed : {1, 2, 3, 4}) {
      runtime::Random random(seed);
      Waveform wave = clean;
      add_reverberation(wave, c50, random);
      const auto found = blind_c50(wave.samples, wave.sample_rate, 60);
      ASSERT_TRUE(found.has_value());
      EXPECT_NEAR(found->c50_db, c50, 6.0);
      sum += found->c50_db / 4;
    }
    EXPECT_NEAR(sum, c50, 3.5);
    EXPECT_GT(sum, previous + 2);
    previous = sum;
  }
}

TEST(BlindReverberation, IsAbsentWhereItCannotBeHeard) {
  Synthesiser synthesiser;
  const Waveform clean = synthesiser.speak(kText, voice("m3"), {});
  EXPECT_FALSE(blind_c50(clean.samples, kSampleRate, 9.9).has_value());
  EXPECT_FALSE(blind_c50(clean.samples, 8000, 60).has_value());
  EXPECT_FALSE(blind_c50(std::span(clean.samples).first(4000), kSampleRate, 60).has_value());
  EXPECT_FALSE(blind_c50({}, kSampleRate, 60).has_value());
  EXPECT_FALSE(measure(clean, kText, false).reverberation.has_value());
  EXPECT_TRUE(measure(clean, kText).reverberation.has_value());
}

// The Gaussian's own figures: half of it above its mean, 84.13 % above one deviation below.
TEST(Confidence, IsTheShareOfErrorsThatLeaveTheWord) {
  const auto at_least = [](double limit) { return [=](double value) { return value >= limit; }; };
  EXPECT_NEAR(word_confidence(10, {.deviation = 2}, at_least(10)), 0.5, 0.025);
  EXPECT_NEAR(word_confidence(12, {.deviation = 2}, at_least(10)), 0.8413, 0.015);
  EXPECT_NEAR(word_confidence(100, {.deviation = 0.05, .relative = true}, at_least(95)), 0.8413, 0.015);
  EXPECT_DOUBLE_EQ(word_confidence(30, {.deviation = 2}, at_least(10)), 1.0);
  EXPECT_DOUBLE_EQ(word_confidence(30, {.deviation = 2, .gross = 0.1}, at_least(10)), 0.9);
}

TEST(Measurement, SpeakingRateFollowsTheSetting) {
  Synthesiser synthesiser;
  double previous = 0.0;
  for (const double rate : {90.0, 170.0, 310.0}) {
    SpeechSettings settings;
    settings.words_per_minute = rate;
    const Waveform wave = synthesiser.speak(kText, voice("m3"), settings);
    const Measurement measured = measure(wave, kText);
    EXPECT_GT(*measured.syllables_per_second, 1.4 * previous);
    // 13 syllables over the clip less its margins of 0.35 s, or some pauses less.
    EXPECT_GE(*measured.syllables_per_second, 13.0 / wave.seconds());
    EXPECT_LE(*measured.syllables_per_second, 13.0 / (wave.seconds() - 0.9));
    previous = *measured.syllables_per_second;
  }
  EXPECT_FALSE(measure(synthesiser.speak(kText, voice("m3"), {}), "").syllables_per_second);
}

TEST(SpeechActivity, FindsTheTimeThatIsSpoken) {
  Waveform wave{std::vector<float>(16000), kSampleRate};  // 1 s rest, 2 s tone, 1 s rest
  const Waveform tone = sine(600, 2.0, -20);
  wave.samples.insert(wave.samples.end(), tone.samples.begin(), tone.samples.end());
  wave.samples.resize(64000);
  runtime::Random random(3);
  add_noise(wave, 20, NoiseKind::kWhite, random);
  const auto activity = speech_activity(wave.samples, kSampleRate);
  ASSERT_TRUE(activity.has_value());
  EXPECT_NEAR(activity->speech_seconds, 2.0, 0.08);
  EXPECT_FALSE(activity->active[50]);
  EXPECT_TRUE(activity->active[200]);
  EXPECT_NEAR(activity->snr_db, 20.0, 1.0);
}

}  // namespace
}  // namespace desta::datagen
