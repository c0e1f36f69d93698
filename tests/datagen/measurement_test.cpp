#include "datagen/measurement.h"

#include <gtest/gtest.h>

#include "datagen/acoustics.h"
#include "datagen/pitch.h"
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
                 measured.syllables_per_second);
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
