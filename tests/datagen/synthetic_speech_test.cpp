#include "datagen/synthetic_speech.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "datagen/audio_file.h"
#include "datagen/metadata.h"
#include "datagen/speech_level.h"
#include "datagen/synthetic_corpus.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::ConfigError;
using runtime::DataError;
using runtime::InternalError;

TEST(Voices, HeldOutSpeakersAreNeverTrainedOn) {
  std::set<std::string> trained;
  std::map<std::string, int> held_out;
  for (const Voice& voice : voices(Split::kTrain)) {
    EXPECT_EQ(voice.split, Split::kTrain);
    trained.insert(voice.variant);
  }
  for (const Voice& voice : voices(Split::kHeldOut)) {
    EXPECT_EQ(voice.split, Split::kHeldOut);
    EXPECT_FALSE(trained.contains(voice.variant)) << voice.id;
    ++held_out[voice.gender];
  }
  EXPECT_EQ(held_out["Female"], 5 * 8);
  EXPECT_EQ(held_out["Male"], 6 * 8);
  EXPECT_EQ(flite_voices().size(), 4U);
}

TEST(Synthesiser, SpeaksWithEveryVoiceThatIsListed) {
  Synthesiser synthesiser;
  std::vector<Voice> all = voices(Split::kTrain);
  for (const auto& more : {voices(Split::kHeldOut), flite_voices()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  EXPECT_EQ(all.size(), 40U * 8U + 4U);
  for (const Voice& voice : all) {
    const Waveform wave = synthesiser.speak("Where is the station?", voice, {});
    EXPECT_EQ(wave.sample_rate, 16000);
    EXPECT_GT(wave.seconds(), 0.8) << voice.id;
    EXPECT_LT(wave.seconds(), 3.0) << voice.id;
    // At most the short rests that are left at both ends are silent.
    const std::vector<float> start(wave.samples.begin(), wave.samples.begin() + 16000 * 3 / 10);
    EXPECT_GT(rms_dbfs(start), -70) << voice.id;
  }
}

TEST(Synthesiser, RefusesWhatItCannotSay) {
  Synthesiser synthesiser;
  const Voice good = voices(Split::kTrain).front();
  Voice bad = good;
  bad.variant = "nobody";
  EXPECT_THROW(static_cast<void>(synthesiser.speak("Hello.", bad, {})), DataError);
  bad = good;
  bad.language = "xx";
  EXPECT_THROW(static_cast<void>(synthesiser.speak("Hello.", bad, {})), DataError);
  bad = good;
  bad.engine = "drum";
  EXPECT_THROW(static_cast<void>(synthesiser.speak("Hello.", bad, {})), DataError);
  EXPECT_THROW(static_cast<void>(synthesiser.speak("", good, {})), DataError);
  EXPECT_THROW(static_cast<void>(synthesiser.speak("Hello.", good, {.words_per_minute = 20})),
               ConfigError);
  EXPECT_THROW(static_cast<void>(synthesiser.speak("Hello.", good, {.pitch = 100})), ConfigError);
}

TEST(Synthesiser, TellsThePhonemesOfAVoice) {
  Synthesiser synthesiser;
  const Voice american = voices(Split::kTrain).front();
  ASSERT_EQ(american.language, "en-us");
  const std::vector<std::string> expected = {"h", "@", "l", "oU", " ", "w", "3:", "l", "d"};
  EXPECT_EQ(synthesiser.phonemes("Hello, world.", american), expected);
  EXPECT_THROW(static_cast<void>(synthesiser.phonemes("Hello.", flite_voices().front())), DataError);
  Voice scottish = american;
  scottish.language = "en-gb-scotland";
  EXPECT_NE(synthesiser.phonemes("Hello, world.", scottish), expected) << "an accent of its own";
}

TEST(Synthesiser, IsOnlyOne) {
  {
    Synthesiser first;
    EXPECT_THROW(Synthesiser second, InternalError);
  }
  EXPECT_NO_THROW(Synthesiser third);
}

TEST(SyntheticSpeech, PlansFollowTheSeedAndTheSplit) {
  const auto speakers = voices(Split::kHeldOut);
  runtime::Random first(9);
  runtime::Random second(9);
  std::set<std::string> ids;
  for (int i = 0; i < 300; ++i) {
    const UtterancePlan plan = plan_utterance(first, Split::kHeldOut, speakers);
    EXPECT_EQ(plan.id, plan_utterance(second, Split::kHeldOut, speakers).id);
    EXPECT_EQ(split_of(plan.sentence), Split::kHeldOut);
    EXPECT_EQ(plan.voice.split, Split::kHeldOut);
    ids.insert(plan.id);
  }
  EXPECT_EQ(ids.size(), 300U);
  EXPECT_THROW(static_cast<void>(plan_utterance(first, Split::kTrain, {})), DataError);
}

TEST(SyntheticSpeech, PitchIsNotTiedToGender) {
  runtime::Random random(10);
  std::map<std::string, int> counts;
  for (int i = 0; i < 3000; ++i) {
    const auto plan = plan_utterance(random, Split::kTrain, voices(Split::kTrain));
    ++counts[plan.voice.gender + " " + planned_words(plan).pitch];
  }
  for (const char* gender : {"Female", "Male"}) {
    for (const char* pitch : {"Low", "Normal", "High"}) {
      EXPECT_GT(counts[std::string(gender) + " " + pitch], 100) << gender << " " << pitch;
    }
  }
}

// What is planned is what is measured, for nearly all clips.
TEST(SyntheticSpeech, MeasuresAsPlanned) {
  Synthesiser synthesiser;
  for (const Split split : {Split::kTrain, Split::kHeldOut}) {
    runtime::Random random(11);
    const auto speakers = voices(split);
    std::map<std::string, int> right;
    constexpr int kClips = 200;
    for (int i = 0; i < kClips; ++i) {
      const UtterancePlan plan = plan_utterance(random, split, speakers);
      const Waveform wave = render(synthesiser, plan, random);
      EXPECT_GE(wave.seconds(), 1.0);
      EXPECT_LE(wave.seconds(), 7.5);
      for (const float sample : wave.samples) {
        ASSERT_LT(std::abs(sample), 1.0F);
      }
      const PlannedWords words = planned_words(plan);
      const Metadata measured = measure_metadata(wave, plan.sentence);
      for (const auto& [name, word] : {std::pair{"pitch", words.pitch},
                                       {"volume", words.volume},
                                       {"speaking_speed", words.speed},
                                       {"noise_level", words.noise}}) {
        const Attribute* attribute = find_attribute(measured, name);
        right[name] += attribute != nullptr && attribute->word == word ? 1 : 0;
      }
    }
    for (const auto& [name, count] : right) {
      EXPECT_GE(count, kClips * 85 / 100) << name << ", " << name_of(split);
    }
  }
}

TEST(SyntheticCorpus, IsResumedAndContinued) {
  const TestFolder folder;
  Synthesiser synthesiser;
  SyntheticCorpusOptions options;
  options.folder = folder / "corpus";
  options.count = 4;
  const auto rows = write_synthetic_corpus(synthesiser, options);
  ASSERT_EQ(rows.size(), 4U);
  for (const ManifestRow& row : rows) {
    EXPECT_NEAR(audio_info(row.audio).seconds, row.duration, 1e-4);
  }
  fs::remove(rows[1].audio);
  const auto kept = fs::last_write_time(rows[0].audio);
  options.count = 6;
  std::size_t told = 0;
  const auto more = write_synthetic_corpus(synthesiser, options,
                                           [&](std::size_t done, std::size_t) { told = done; });
  EXPECT_EQ(told, 6U);
  EXPECT_EQ(more[1].audio, rows[1].audio);
  EXPECT_TRUE(fs::exists(rows[1].audio));
  EXPECT_EQ(fs::last_write_time(rows[0].audio), kept);
  const ManifestReport manifest = read_manifest(options.folder / "manifest.jsonl");
  ASSERT_EQ(manifest.rows.size(), 6U);
  EXPECT_EQ(manifest.rows[5].audio, more[5].audio);
  const Metadata metadata = annotate(manifest.rows[0]);
  EXPECT_NE(find_attribute(metadata, "gender"), nullptr);
  EXPECT_NE(find_attribute(metadata, "accent"), nullptr);
  EXPECT_NE(find_attribute(metadata, "age"), nullptr);
}

}  // namespace
}  // namespace desta::datagen
