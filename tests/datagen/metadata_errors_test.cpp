// What is measured, against what the synthesiser was told. The bounds are loose; the figures stand in
// bench/RESULTS.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "datagen/metadata.h"
#include "datagen/synthetic_speech.h"

namespace desta::datagen {
namespace {

constexpr int kClips = 60;

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

// How far clips of held-out voices lie from the truth, and which share of their words is right.
struct Agreement {
  std::vector<double> errors;
  int right = 0;
  void add(const Metadata& metadata, const char* name, double truth, const std::string& word,
           bool relative) {
    const Attribute* found = find_attribute(metadata, name);
    ASSERT_NE(found, nullptr) << name;
    errors.push_back(std::abs(*found->number - truth) / (relative ? truth : 1.0));
    right += found->word == word ? 1 : 0;
    EXPECT_GE(found->confidence, 0.0);
    EXPECT_LE(found->confidence, 1.0);
  }
  [[nodiscard]] double share() const { return static_cast<double>(right) / kClips; }
};

TEST(MetadataErrors, AreSmallForPitchVolumeAndRoom) {
  Synthesiser synthesiser;
  runtime::Random random(8);
  const auto held_out = voices(Split::kHeldOut);
  Agreement pitch;
  Agreement volume;
  Agreement room;
  for (int i = 0; i < kClips; ++i) {
    const double c50 = random.uniform(-2, 20);
    const UtterancePlan plan =
        plan_utterance(random, Split::kHeldOut, held_out, Air{.snr_db = {}, .c50_db = c50});
    const Metadata found = measure_metadata(render(synthesiser, plan, random), plan.sentence);
    const double hz = pitch_of(plan.voice, plan.settings.pitch);
    pitch.add(found, "pitch", hz, pitch_word(hz), true);
    volume.add(found, "volume", plan.level_dbfs, volume_word(plan.level_dbfs), false);
    room.add(found, "reverberation", c50, reverberation_word(c50), false);
  }
  EXPECT_LT(median(pitch.errors), 0.08);
  EXPECT_GT(pitch.share(), 0.85);
  EXPECT_LT(median(volume.errors), 0.3);
  EXPECT_GT(volume.share(), 0.95);
  EXPECT_LT(median(room.errors), 2.5);
  EXPECT_GT(room.share(), 0.75);
}

TEST(MetadataErrors, AreSmallForSpeedNoiseAndActivity) {
  Synthesiser synthesiser;
  runtime::Random random(9);
  const auto held_out = voices(Split::kHeldOut);
  Agreement noise;
  int speeds = 0;
  for (int i = 0; i < kClips; ++i) {
    UtterancePlan plan = plan_utterance(random, Split::kHeldOut, held_out,
                                        Air{.snr_db = random.uniform(5, 30), .c50_db = {}});
    plan.noise = i % 2 == 0 ? NoiseKind::kWhite : NoiseKind::kHum;
    const Metadata found = measure_metadata(render(synthesiser, plan, random), plan.sentence);
    noise.add(found, "noise_level", *plan.snr_db, noise_word(*plan.snr_db), false);
    speeds += find_attribute(found, "speaking_speed")->word == planned_words(plan).speed ? 1 : 0;
    const double share = *find_attribute(found, "speech_activity")->number;
    EXPECT_GT(share, 20) << plan.sentence;  // 0.35 s around a sentence are silent
    EXPECT_LE(share, 100);
  }
  EXPECT_LT(median(noise.errors), 0.7);
  EXPECT_GT(noise.share(), 0.9);
  EXPECT_GT(speeds, 0.85 * kClips);
}

// Over clips, the mean confidence is the share of words that are right.
TEST(MetadataErrors, AreWhatTheConfidenceSays) {
  Synthesiser synthesiser;
  runtime::Random random(10);
  const auto held_out = voices(Split::kHeldOut);
  for (const char* name : {"noise_level", "reverberation"}) {
    double right = 0;
    double sure = 0;
    for (int i = 0; i < kClips; ++i) {
      const double c50 = random.uniform(-2, 12);
      UtterancePlan plan = plan_utterance(random, Split::kHeldOut, held_out, Air{});
      const bool noisy = std::string_view(name) == "noise_level";
      plan.snr_db = noisy ? std::optional(random.uniform(4, 32)) : std::nullopt;
      plan.c50_db = noisy ? std::nullopt : std::optional(c50);
      const Metadata metadata = measure_metadata(render(synthesiser, plan, random), plan.sentence);
      const Attribute* found = find_attribute(metadata, name);
      ASSERT_NE(found, nullptr);
      right += found->word == (noisy ? noise_word(*plan.snr_db) : reverberation_word(c50)) ? 1 : 0;
      sure += found->confidence;
    }
    EXPECT_NEAR(sure / kClips, right / kClips, 0.15) << name;
  }
}

}  // namespace
}  // namespace desta::datagen
