#include "datagen/manifest.h"

#include <gtest/gtest.h>

#include "datagen/metadata.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

using runtime::DataError;
using runtime::InternalError;

TEST(Manifest, ReadsOurLayoutAndBothPublishedOnes) {
  const TestFolder folder;
  write_text(
      folder / "m.jsonl",
      R"json({"audio_filepath": "wav/a.wav", "duration": 2.5, "transcription": "Hi.", "gender": "F"}
{"audio_filepath": "/data/b.wav", "transcription": "Yo.", "input": "What?", "target": "A man.", "duration": 1}
{"id": "set/c.wav", "dataset": "set", "seed_description": "[00:00:00 - 00:00:02]: \"Say \"hey\" now.\" (Gender:Male)", "prompt": "Who?", "response": "He.", "messages": []}
)json");
  const ManifestReport report = read_manifest(folder / "m.jsonl");
  EXPECT_TRUE(report.problems.empty());
  ASSERT_EQ(report.rows.size(), 3U);
  EXPECT_EQ(report.rows[0].audio, folder / "wav/a.wav");
  EXPECT_EQ(report.rows[0].duration, 2.5);
  EXPECT_EQ(find_attribute(annotate(report.rows[0]), "gender")->text, "Female");
  EXPECT_EQ(report.rows[0].id.size(), 16U);
  EXPECT_EQ(report.rows[1].audio, "/data/b.wav");
  EXPECT_EQ(report.rows[1].prompt, "What?");
  EXPECT_EQ(report.rows[1].response, "A man.");
  EXPECT_EQ(report.rows[2].id, "set/c.wav");
  EXPECT_EQ(report.rows[2].audio, folder / "set/c.wav");
  EXPECT_EQ(report.rows[2].transcription, "Say \"hey\" now.");
  EXPECT_EQ(report.rows[2].response, "He.");
}

TEST(Manifest, NamesBadLinesAndKeepsGoodOnes) {
  const TestFolder folder;
  write_text(folder / "m.jsonl",
             "\xef\xbb\xbf{\"audio_filepath\": \"a.wav\"}\r\n"
             "\n"
             "{\"audio_filepath\": \"b.wav\", \n"
             "[1, 2]\n"
             "{\"duration\": 3}\n"
             "{\"audio_filepath\": \"c.wav\", \"duration\": -1}\n"
             "{\"audio_filepath\": 7}\n"
             "{\"audio_filepath\": \"d.wav\", \"duration\": \"long\"}\n"
             "{\"audio_filepath\": \"e.wav\"}");
  const ManifestReport report = read_manifest(folder / "m.jsonl");
  ASSERT_EQ(report.rows.size(), 2U);
  EXPECT_EQ(report.rows[1].audio.filename(), "e.wav");
  ASSERT_EQ(report.problems.size(), 6U);
  const std::string file = (folder / "m.jsonl").string();
  for (std::size_t i = 0; i < 6; ++i) {
    const std::string place = file + ":" + std::to_string(i + 3) + ": ";
    EXPECT_EQ(report.problems[i].substr(0, place.size()), place);
  }
  EXPECT_NE(report.problems[2].find("audio_filepath"), std::string::npos);
}

TEST(Manifest, HostileLinesAreNamedAndLoseNothingElse) {
  const TestFolder folder;
  const std::string large(10 << 20, 'x');
  write_text(folder / "m.jsonl",
             "{\"audio_filepath\": \"a.wav\"}\n"
             "{\"audio_filepath\": \"../secret.wav\"}\n"
             "{\"audio_filepath\": \"in/../../secret.wav\"}\n"
             "{\"audio_filepath\": \"b.wav\", \"transcription\": \"" + large + "\"}\n"
             "{\"audio_filepath\": \"c.wav\", \"transcription\": \"\xff\xfe\"}\n"
             "{\"audio_filepath\": \"d\\u0000.wav\"}\n"
             "{\"audio_filepath\": \"in/../e.wav\"}\n" +
             large + "\n{\"audio_filepath\": \"f.wav\", \"impulse_response\": \"../../etc/hall.wav\"}\n");
  const ManifestReport report = read_manifest(folder / "m.jsonl");
  ASSERT_EQ(report.rows.size(), 2U);
  EXPECT_EQ(report.rows[0].audio, folder / "a.wav");
  EXPECT_EQ(report.rows[1].audio, folder / "in/../e.wav");
  const std::vector<std::string> expected = {"2: \"audio_filepath\" \"../secret.wav\" leaves", "3: \"audio_filepath\"",
                                             "4: a line of more than 1 MiB", "5: not UTF-8", "6: \"audio_filepath\"",
                                             "8: a line of more than 1 MiB",
                                             "9: \"impulse_response\" \"../../etc/hall.wav\" leaves"};
  ASSERT_EQ(report.problems.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(report.problems[i].starts_with((folder / "m.jsonl").string() + ":" + expected[i])) << report.problems[i];
    EXPECT_LT(report.problems[i].size(), 400U) << "one line";
    EXPECT_EQ(report.problems[i].find('\n'), std::string::npos);
  }
}

TEST(Manifest, ConfidenceLiesBetweenNothingAndCertainty) {
  const TestFolder folder;
  write_text(folder / "m.jsonl",
             R"({"audio_filepath": "a.wav", "confidence": {"age": 0.5}}
{"audio_filepath": "b.wav", "confidence": {"age": 1.5}}
{"audio_filepath": "c.wav", "confidence": {"age": "high"}}
{"audio_filepath": "d.wav", "confidence": 7})");
  const ManifestReport report = read_manifest(folder / "m.jsonl");
  ASSERT_EQ(report.rows.size(), 2U);  // a number of its own is nobody's
  ASSERT_EQ(report.problems.size(), 2U);
  EXPECT_NE(report.problems[0].find("m.jsonl:2: \"confidence\" of age"), std::string::npos);
}

TEST(Manifest, AnImpulseResponseLiesBesideItsManifest) {
  const TestFolder folder;
  write_text(folder / "m.jsonl", R"({"audio_filepath": "a.wav", "impulse_response": "rooms/hall.wav"}
{"audio_filepath": "b.wav"})");
  const ManifestReport report = read_manifest(folder / "m.jsonl");
  ASSERT_EQ(report.rows.size(), 2U);
  EXPECT_EQ(report.rows[0].impulse_response, folder / "rooms/hall.wav");
  EXPECT_TRUE(report.rows[1].impulse_response.empty());
  write_manifest(folder / "again.jsonl", report.rows);
  EXPECT_EQ(read_manifest(folder / "again.jsonl").rows[0].impulse_response, folder / "rooms/hall.wav");
}

TEST(Manifest, WithoutAGoodLineIsAnError) {
  const TestFolder folder;
  write_text(folder / "bad.jsonl", "nonsense\n");
  write_text(folder / "empty.jsonl", "");
  const std::string message =
      message_of<DataError>([&] { static_cast<void>(read_manifest(folder / "bad.jsonl")); });
  EXPECT_NE(message.find("bad.jsonl:1"), std::string::npos) << message;
  EXPECT_THROW(static_cast<void>(read_manifest(folder / "empty.jsonl")), DataError);
  EXPECT_THROW(static_cast<void>(read_manifest(folder / "missing.jsonl")), DataError);
  EXPECT_THROW(static_cast<void>(read_manifest(folder.path())), DataError);
}

TEST(Manifest, RoundTripsAndMovesWithItsFolder) {
  const TestFolder folder;
  ManifestRow row;
  row.id = "one";
  row.audio = folder / "audio/a.wav";
  row.duration = 1.2345678;
  row.transcription = "Caf\xc3\xa9 \"noir\".";
  row.fields = {{"accent", "Scottish"}};
  write_manifest(folder / "m.jsonl", {row});
  std::filesystem::create_directories(folder / "moved");
  std::filesystem::rename(folder / "m.jsonl", folder / "moved/m.jsonl");
  const ManifestRow back = read_manifest(folder / "moved/m.jsonl").rows.at(0);
  EXPECT_EQ(back.id, "one");
  EXPECT_EQ(back.audio, folder / "moved/audio/a.wav");
  EXPECT_DOUBLE_EQ(back.duration, 1.235);
  EXPECT_EQ(back.transcription, row.transcription);
  EXPECT_EQ(back.fields["accent"], "Scottish");
}

TEST(Manifest, ANameWithoutAFolderIsInThisOne) {
  const TestFolder folder;
  namespace fs = std::filesystem;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  ManifestRow row;
  row.audio = "a.wav";
  row.transcription = "one";
  EXPECT_NO_THROW(write_manifest("manifest.jsonl", {row}));
  EXPECT_EQ(read_manifest(folder / "manifest.jsonl").rows.at(0).audio, folder / "a.wav");
  fs::create_directories("lists");
  EXPECT_NO_THROW(write_manifest("lists/manifest.jsonl", {row}));
  EXPECT_EQ(read_manifest(folder / "lists/manifest.jsonl").rows.at(0).audio, fs::current_path() / "a.wav")
      << "one outside is written whole";
  fs::current_path(before);
}

TEST(Manifest, AFullDiskLeavesTheOldOne) {
  const TestFolder folder;
  ManifestRow row;
  row.audio = "/a.wav";
  write_manifest(folder / "m.jsonl", {row});
  {
    const FileSizeLimit limit(1000);
    EXPECT_THROW(write_manifest(folder / "m.jsonl", std::vector<ManifestRow>(100, row)),
                 InternalError);
  }
  EXPECT_EQ(read_manifest(folder / "m.jsonl").rows.size(), 1U);
}

}  // namespace
}  // namespace desta::datagen
