#include "datagen/metadata.h"

#include <gtest/gtest.h>

#include "datagen/acoustics.h"
#include "datagen/manifest.h"
#include "datagen/seed_transcript.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

using runtime::ConfigError;
using runtime::DataError;

Attribute attribute(const char* name, const char* text, Source source = Source::kAnnotated) {
  return {.name = name, .text = text, .word = text, .number = {}, .unit = "", .source = source};
}

ManifestRow row_of(const char* json) {
  ManifestRow row;
  row.fields = nlohmann::json::parse(json);
  return row;
}

TEST(SeedTranscript, IsThePublishedLine) {
  const Metadata metadata = {attribute("gender", "Male"),
                             attribute("accent", "Scottish"),
                             attribute("age", "Adult"),
                             attribute("emotion", "neutral"),
                             attribute("pitch", "High"),
                             attribute("volume", "Low"),
                             attribute("speaking_speed", "Fast"),
                             attribute("noise_level", "Moderate(Signal-to-Noise Ratio: 15db)"),
                             attribute("reverberation", "60ms"),
                             attribute("duration", "4s")};
  EXPECT_EQ(seed_transcript("These days are long gone.", 4.2, metadata),
            "[00:00:00 - 00:00:04]: \"These days are long gone.\" (Gender:Male, Accent: Scottish, "
            "Age: Adult, Emotion: neutral, Pitch: High, Volume: Low, Speaking speed: Fast, Noise "
            "Level: Moderate(Signal-to-Noise Ratio: 15db), Reverberation(C50): 60ms, Duration: "
            "4s)");
}

TEST(SeedTranscript, TakesTheAttributesAskedInTheirOrderAndShowsTheirSource) {
  const Metadata metadata = {attribute("gender", "Male"),
                             attribute("pitch", "High", Source::kMeasured)};
  SeedOptions options{.attributes = {"pitch", "gender", "emotion"}, .show_source = true};
  EXPECT_EQ(seed_transcript("Hi.", 0.2, metadata, options),
            "[00:00:00 - 00:00:01]: \"Hi.\" (Pitch: High [measured], Gender:Male [annotated])");
  EXPECT_EQ(attribute_list(metadata, options), "Pitch: High [measured], Gender:Male [annotated]");
  options.attributes = {"colour"};
  const std::string message =
      message_of<ConfigError>([&] { static_cast<void>(attribute_list(metadata, options)); });
  EXPECT_NE(message.find("'colour'"), std::string::npos);
}

TEST(SeedTranscript, WithoutMetadataIsWordsAndTime) {
  EXPECT_EQ(seed_transcript("One\ntwo.", 3725.6, {}), "[00:00:00 - 01:02:06]: \"One two.\"");
  EXPECT_EQ(seed_transcript("", 0, {}), "[00:00:00 - 00:00:01]: \"\"");
}

TEST(Metadata, WordsBelongToTheValuesOnTheirSideOfAThreshold) {
  EXPECT_EQ(pitch_word(129.9), "Low");
  EXPECT_EQ(pitch_word(130), "Normal");
  EXPECT_EQ(pitch_word(160), "High");
  EXPECT_EQ(volume_word(-40), "Low");
  EXPECT_EQ(volume_word(-27), "Normal");
  EXPECT_EQ(volume_word(-15), "High");
  EXPECT_EQ(speed_word(2.5), "Slow");
  EXPECT_EQ(speed_word(5), "Normal");
  EXPECT_EQ(speed_word(8), "Fast");
  EXPECT_EQ(noise_word(5), "High");
  EXPECT_EQ(noise_word(15), "Moderate");
  EXPECT_EQ(noise_word(30), "Low");
  EXPECT_EQ(loudness_word(-33.1), "Low");
  EXPECT_EQ(loudness_word(-23), "Normal");
  EXPECT_EQ(loudness_word(-16), "High");
  EXPECT_EQ(reverberation_word(1.9), "High");
  EXPECT_EQ(reverberation_word(2), "Moderate");
  EXPECT_EQ(reverberation_word(7), "Low");
}

TEST(Metadata, ReadsWhatAManifestStates) {
  ManifestRow row = row_of(R"({"gender": "m", "age": 20, "accent": "Scottish", "emotion": "",
      "pitch": 210, "volume": "low", "snr_db": 15.2, "c50_db": 11.7, "intent": null})");
  row.duration = 3.6;
  const Metadata metadata = annotate(row);
  const auto text = [&](const char* name) { return find_attribute(metadata, name)->text; };
  EXPECT_EQ(text("gender"), "Male");
  EXPECT_EQ(text("age"), "20");
  EXPECT_EQ(text("accent"), "Scottish");
  EXPECT_EQ(text("pitch"), "High");
  EXPECT_EQ(find_attribute(metadata, "pitch")->number, 210);
  EXPECT_EQ(text("volume"), "Low");
  EXPECT_EQ(text("noise_level"), "Moderate(Signal-to-Noise Ratio: 15db)");
  EXPECT_EQ(text("reverberation"), "12dB");
  EXPECT_EQ(find_attribute(metadata, "reverberation")->word, "Low");
  EXPECT_EQ(find_attribute(metadata, "pitch")->confidence, 1.0);
  EXPECT_EQ(text("duration"), "4s");
  EXPECT_EQ(find_attribute(metadata, "emotion"), nullptr);
  EXPECT_EQ(find_attribute(metadata, "intent"), nullptr);
  EXPECT_EQ(find_attribute(annotate(row_of(R"({"c50_ms": 60})")), "reverberation")->text, "60ms");
}

TEST(Metadata, TakesHowSureAManifestIs) {
  const Metadata metadata = annotate(row_of(
      R"({"gender": "f", "emotion": "sad", "pitch": 210, "confidence": {"emotion": 0.6, "colour": 1}})"));
  EXPECT_EQ(find_attribute(metadata, "emotion")->confidence, 0.6);
  EXPECT_EQ(find_attribute(metadata, "gender")->confidence, 1.0);
  EXPECT_EQ(annotate(row_of(R"({"gender": "f", "confidence": 0.4})"))[0].confidence, 1.0);
}

// A sine of 220 Hz is far from every threshold of the pitch, and half a dB from the volume's.
TEST(Metadata, IsSureOfWhatLiesFarFromAThreshold) {
  const auto of = [](double dbfs, const char* name) {
    return find_attribute(measure_metadata(sine(220, 2.0, dbfs), "one"), name)->confidence;
  };
  EXPECT_GT(of(-15, "pitch"), 0.9);
  EXPECT_GT(of(-15, "volume"), 0.99);
  EXPECT_LT(of(-21.5, "volume"), 0.8);
  EXPECT_EQ(of(-15, "duration"), 1.0);
  for (const Attribute& attribute : measure_metadata(sine(220, 2.0, -15), "one")) {
    EXPECT_TRUE(attribute.name == "duration" || !attribute.origin.empty()) << attribute.name;
  }
}

TEST(Metadata, KnowsTheReverberationOfAnImpulseResponse) {
  runtime::Random random(4);
  for (const double c50 : {0.0, 5.0, 12.0}) {
    const std::vector<float> response = make_impulse_response(c50, kSampleRate, random);
    Waveform recorded{std::vector<float>(700), kSampleRate};  // what is recorded before the sound
    recorded.samples.insert(recorded.samples.end(), response.begin(), response.end());
    const Attribute found = measure_reverberation(recorded);
    EXPECT_NEAR(*found.number, c50, 0.01);
    EXPECT_EQ(found.word, reverberation_word(*found.number));
    EXPECT_EQ(found.source, Source::kMeasured);
    EXPECT_EQ(found.origin, "impulse response");
  }
  EXPECT_THROW(static_cast<void>(measure_reverberation(Waveform{std::vector<float>(99), 16000})),
               DataError);
}

TEST(Metadata, MeasuresATone) {
  const Metadata metadata = measure_metadata(sine(220, 2.0, -15), "one two three four five six");
  EXPECT_EQ(find_attribute(metadata, "pitch")->word, "High");
  EXPECT_EQ(find_attribute(metadata, "volume")->word, "High");
  EXPECT_EQ(find_attribute(metadata, "duration")->text, "2s");
  EXPECT_EQ(find_attribute(metadata, "duration")->source, Source::kMeasured);
  const Metadata nothing = measure_metadata(Waveform{}, "");
  EXPECT_EQ(nothing.size(), 1U);  // the duration
}

TEST(Metadata, AnnotationWinsOverMeasurement) {
  const Metadata merged =
      merge({attribute("pitch", "Low")}, {attribute("pitch", "High", Source::kMeasured),
                                          attribute("volume", "High", Source::kMeasured)});
  ASSERT_EQ(merged.size(), 2U);
  EXPECT_EQ(find_attribute(merged, "pitch")->text, "Low");
  EXPECT_EQ(find_attribute(merged, "pitch")->source, Source::kAnnotated);
  EXPECT_EQ(find_attribute(merged, "volume")->source, Source::kMeasured);
}

TEST(Metadata, SurvivesJson) {
  Metadata metadata = {attribute("gender", "Female"),
                       attribute("pitch", "High", Source::kMeasured)};
  metadata[1].number = 201.25;
  metadata[1].unit = "Hz";
  metadata[1].confidence = 0.75;
  metadata[1].origin = "YIN";
  metadata.push_back(attribute("emotion", "Calm", Source::kModel));
  EXPECT_EQ(metadata_from_json(metadata_to_json(metadata)), metadata);
  EXPECT_THROW(static_cast<void>(metadata_from_json(nlohmann::json::parse("{}"))), DataError);
  for (const auto& [key, value] : {std::pair<const char*, nlohmann::json>("confidence", 1.5),
                                   {"confidence", "high"},
                                   {"source", "guessed"},
                                   {"origin", 3}}) {
    auto json = metadata_to_json(metadata);
    json[0][key] = value;
    EXPECT_THROW(static_cast<void>(metadata_from_json(json)), DataError) << key << value;
  }
  EXPECT_THROW(static_cast<void>(metadata_from_json(nlohmann::json::parse(R"([{"name": 1}])"))),
               DataError);
}

TEST(Metadata, TakesOtherThresholdsForWhatWasMeasured) {
  const Metadata measured = measure_metadata(sine(220, 2.0, -15), "one two three");
  Thresholds other;
  other.pitch_high_hz = 230;
  const Metadata graded = with_thresholds(measured, other);
  EXPECT_EQ(find_attribute(graded, "pitch")->text, "Normal");
  EXPECT_EQ(with_thresholds(measured, {}), measured);
  Metadata stated = {attribute("pitch", "High")};
  stated[0].number = 220;
  EXPECT_EQ(with_thresholds(stated, other), stated);
}

// As rows of version 2 were written before confidence and origin were kept.
TEST(Metadata, ReadsRowsWithoutConfidence) {
  const auto metadata = metadata_from_json(nlohmann::json::parse(
      R"([{"name": "pitch", "text": "High", "word": "High", "unit": "Hz", "source": "measured", "number": 201}])"));
  EXPECT_EQ(metadata[0].confidence, 1.0);
  EXPECT_EQ(metadata[0].origin, "");
}

}  // namespace
}  // namespace desta::datagen
