// Recordings of real people, Debian's pocketsphinx-testdata, from the file to the seed transcript.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "datagen/audio_file.h"
#include "datagen/manifest.h"
#include "datagen/metadata.h"
#include "datagen/seed_transcript.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;

// Their manifest, from "<s> ten of clubs </s> (001)".
std::vector<ManifestRow> recordings(const TestFolder& folder) {
  const fs::path source = "/usr/share/pocketsphinx/test/data";
  std::string lines;
  for (const auto& [name, transcription] :
       {std::pair("cards", "cards.transcription"), {"librivox", "transcription"}}) {
    std::ifstream in(source / name / transcription);
    std::string line;
    std::smatch parts;
    while (std::getline(in, line)) {
      if (std::regex_match(line, parts, std::regex(R"(<s> *(.*[^ ]) *</s> *\((.*)\) *)"))) {
        lines += nlohmann::json({{"audio_filepath", (source / name / (parts[2].str() + ".wav")).string()},
                                 {"transcription", parts[1].str()}})
                     .dump() +
                 "\n";
      }
    }
  }
  write_text(folder / "people.jsonl", lines);
  return read_manifest(folder / "people.jsonl").rows;
}

TEST(RecordedSpeech, IsMeasuredAndToldLikeAnyOther) {
  const TestFolder folder;
  const auto rows = recordings(folder);
  ASSERT_EQ(rows.size(), 10U) << "is pocketsphinx-testdata installed? launch/setup.sh does that";
  SeedOptions options;
  options.attributes = {"pitch",       "volume",        "loudness",        "speaking_speed",
                        "noise_level", "reverberation", "speech_activity", "duration"};
  options.show_source = true;
  for (const ManifestRow& row : rows) {
    SCOPED_TRACE(row.audio.string());
    const Waveform wave = read_audio(row.audio);
    const Metadata metadata = merge(annotate(row), measure_metadata(wave, row.transcription));
    const auto number = [&](const char* name) { return *find_attribute(metadata, name)->number; };
    const bool cards = row.audio.parent_path().filename() == "cards";
    // Adults (Baken 1987: 85 to 255 Hz), who speak one at a time, near a microphone.
    EXPECT_GT(number("pitch"), 80);
    EXPECT_LT(number("pitch"), 260);
    EXPECT_GT(number("speaking_speed"), 1.5);
    EXPECT_LT(number("speaking_speed"), 8);
    EXPECT_GT(number("noise_level"), 15);
    EXPECT_NEAR(number("loudness"), number("volume"), 3);
    EXPECT_GT(number("speech_activity"), 30);
    EXPECT_LE(number("speech_activity"), 100);
    // A room that one can work in; the shortest name of a card has too few decays to tell.
    if (const Attribute* room = find_attribute(metadata, "reverberation")) {
      EXPECT_GT(*room->number, 2);
    } else {
      EXPECT_TRUE(cards);
    }
    const std::string line = seed_transcript(row.transcription, wave.seconds(), metadata, options);
    EXPECT_NE(line.find("\"" + row.transcription + "\" (Pitch: "), std::string::npos) << line;
    for (const char* part : {" [measured], Volume: ", "Loudness: ", "Speaking speed: ",
                             "Noise Level: ", "Duration: "}) {
      EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
    }
    EXPECT_EQ(metadata_from_json(metadata_to_json(metadata)), metadata);
  }
}

}  // namespace
}  // namespace desta::datagen
