// What desta-data does with datasets: counting, checking, exporting, merging.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "datagen/audio_file.h"
#include "datagen/dataset_check.h"
#include "datagen/dataset_export.h"
#include "datagen/dataset_merge.h"
#include "datagen/dataset_report.h"
#include "datagen/dataset_statistics.h"
#include "datagen/manifest.h"
#include "datagen/rejected_rows.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/file_lock.h"
#include "described_rows.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::ConfigError;
using runtime::DataError;
using runtime::InternalError;

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Distribution, CountsEveryNumberInBinsOfARoundWidth) {
  const Distribution numbers = distribution_of({0.5F, 1.0F, 1.5F, 2.0F, 9.9F});
  EXPECT_EQ(numbers.count, 5U);
  EXPECT_FLOAT_EQ(numbers.minimum, 0.5F);
  EXPECT_FLOAT_EQ(numbers.maximum, 9.9F);
  EXPECT_FLOAT_EQ(numbers.median, 1.5F);
  EXPECT_NEAR(numbers.mean, 14.9 / 5, 1e-6);
  EXPECT_LE(numbers.first, 0.5);
  std::uint64_t all = 0;
  for (const std::uint64_t bin : numbers.bins) {
    all += bin;
  }
  EXPECT_EQ(all, 5U);
  EXPECT_TRUE(distribution_of({}).bins.empty());
  EXPECT_EQ(distribution_of({3, 3, 3}).bins, std::vector<std::uint64_t>{3});
}

TEST(Distribution, AnOutlierDoesNotSquashTheOthers) {
  std::vector<float> numbers;
  for (int i = 0; i < 1000; ++i) {
    numbers.push_back(static_cast<float>(i % 10));
  }
  numbers.push_back(1e6F);
  numbers.push_back(std::numeric_limits<float>::quiet_NaN());
  const Distribution found = distribution_of(numbers);
  EXPECT_EQ(found.count, 1001U);
  EXPECT_LT(found.width, 1.01);
  EXPECT_LE(found.bins.size(), 31U);
  EXPECT_EQ(found.bins.front(), 100U);
  EXPECT_FLOAT_EQ(found.maximum, 1e6F);
}

TEST(DatasetStatistics, CountsWordsBySourcePromptsGeneratorsAndLengths) {
  const TestFolder folder;
  write_described(folder.path(), 0, 12, 5);
  const DatasetStatistics statistics = dataset_statistics(folder.path());
  EXPECT_EQ(statistics.rows, 12U);
  EXPECT_EQ(statistics.shards, 3U);
  EXPECT_EQ(statistics.recordings, 12U);
  EXPECT_DOUBLE_EQ(statistics.seconds, 0.5 * 78);  // 1 + ... + 12
  ASSERT_EQ(statistics.attributes.size(), 2U);
  const AttributeBalance& gender = statistics.attributes[0];
  EXPECT_EQ(gender.name, "gender");
  EXPECT_EQ(gender.annotated, 12U);
  EXPECT_EQ(gender.absent, 0U);
  ASSERT_EQ(gender.words.size(), 2U);
  EXPECT_EQ(gender.words[0].word, "Female");
  EXPECT_EQ(gender.words[0].annotated, 6U);
  const AttributeBalance& pitch = statistics.attributes[1];
  EXPECT_EQ(pitch.annotated, 0U);
  EXPECT_EQ(pitch.measured, 4U);  // 0, 3, 6, 9
  EXPECT_EQ(pitch.absent, 8U);
  EXPECT_EQ(pitch.unit, "Hz");
  EXPECT_EQ(pitch.numbers.count, 4U);
  ASSERT_EQ(statistics.prompts.size(), 2U);
  EXPECT_EQ(statistics.prompts[0].rows, 9U);
  EXPECT_EQ(statistics.prompts[1].prompt, "Who speaks?");
  ASSERT_EQ(statistics.generators.size(), 1U);
  EXPECT_EQ(statistics.generators[0].decoding, "greedy");
  EXPECT_EQ(statistics.generators[0].seeds, 12U);
  EXPECT_FLOAT_EQ(statistics.response_words.maximum, 3);
  EXPECT_FLOAT_EQ(statistics.response_characters.maximum, 18);  // "Response number 11"
  const std::string text = statistics_text(statistics);
  for (const char* part : {"gender: 12 annotated, 0 measured, 0 without", "50.0 %  Female (annotated)",
                           "Low (measured)", "Who speaks?", "test; greedy; 12 seeds"}) {
    EXPECT_TRUE(holds(text, part)) << part << "\n" << text;
  }
}

TEST(DatasetStatistics, CountsWhatAModelSaid) {
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  for (int i = 0; i < 4; ++i) {
    Row row = described_row(i);
    row.metadata_json =
        metadata_to_json({attribute("gender", "Male", i == 0 ? Source::kModel : Source::kAnnotated),
                          attribute("emotion", "Calm", Source::kModel)})
            .dump();
    writer.append(row);
  }
  writer.finish();
  const DatasetStatistics statistics = dataset_statistics(folder.path());
  EXPECT_EQ(statistics.attributes[0].name, "emotion");
  EXPECT_EQ(statistics.attributes[0].model, 4U);
  EXPECT_EQ(statistics.attributes[0].absent, 0U);
  EXPECT_EQ(statistics.attributes[1].model, 1U);
  EXPECT_EQ(statistics.attributes[1].annotated, 3U);
  const std::string text = statistics_text(statistics);
  for (const char* part : {"0 measured, 4 by a model, 0 without", "Calm (by a model)",
                           "Male (3 annotated, 1 by a model)"}) {
    EXPECT_TRUE(holds(text, part)) << part << "\n" << text;
  }
}

TEST(DatasetStatistics, MetadataThatAreNoneNameTheRow) {
  const TestFolder folder;
  DatasetWriter writer(folder.path());
  Row row = described_row(0);
  row.metadata_json = "[{\"name\": ";
  writer.append(row);
  writer.finish();
  EXPECT_TRUE(holds(message_of<DataError>([&] { (void)dataset_statistics(folder.path()); }), row.id));
}

TEST(DatasetReport, NeedsNothingElseAndEscapesWhatItShows) {
  const TestFolder folder;
  Row row = described_row(0);
  row.audio_filepath = (folder / "a.wav").string();
  row.response = "<script>alert('&')</script>";
  write_wav(row.audio_filepath, sine(200, 0.25, -20));
  Row silent = described_row(1);
  silent.audio_filepath = (folder / "gone.wav").string();
  DatasetWriter writer(folder / "set");
  writer.append(row);
  writer.append(silent);
  writer.finish();
  write_dataset_report(folder / "page.html", dataset_statistics(folder / "set"), 2, 1);
  const std::string page = runtime::read_file(folder / "page.html");
  EXPECT_TRUE(holds(page, "&lt;script&gt;alert('&amp;')&lt;/script&gt;"));
  EXPECT_FALSE(holds(page, "<script"));
  EXPECT_TRUE(holds(page, "<audio controls preload=\"metadata\" src=\"data:audio/flac;base64,ZkxhQ"))
      << "fLaC, the magic of FLAC";
  EXPECT_TRUE(holds(page, "gone.wav: no such audio file"));
  EXPECT_TRUE(holds(page, "Who speaks?"));
  EXPECT_TRUE(holds(page, "<svg"));
  for (const char* from_elsewhere : {"http://", "https://", "<link", "@import", "src=\"/"}) {
    EXPECT_FALSE(holds(page, from_elsewhere)) << from_elsewhere;
  }
}

TEST(DatasetReport, AFlacIsTheSoundItWasMadeOf) {
  const TestFolder folder;
  const Waveform sound = sine(300, 0.5, -10);
  write_text(folder / "a.flac", encode_flac(sound));
  const Waveform back = read_audio(folder / "a.flac");
  ASSERT_EQ(back.samples.size(), sound.samples.size());
  EXPECT_EQ(back.sample_rate, sound.sample_rate);
  for (std::size_t i = 0; i < sound.samples.size(); i += 97) {
    EXPECT_NEAR(back.samples[i], sound.samples[i], 1.0 / 32768);
  }
}

class DatasetCheckTest : public ::testing::Test {
 protected:
  DatasetCheck check(bool audio = false) {
    problems_.clear();
    return check_dataset(folder_.path(), audio,
                         [&](const std::string& line) { problems_.push_back(line); });
  }
  TestFolder folder_;
  std::vector<std::string> problems_;
};

TEST_F(DatasetCheckTest, AWholeDatasetHasNoProblemAndIsLeftAsItWas) {
  write_described(folder_.path(), 0, 12, 5);
  const auto before = runtime::read_file(list_shards(folder_.path())[1]);
  const DatasetCheck found = check();
  EXPECT_EQ(found.problems, 0U);
  EXPECT_EQ(found.rows, 12U);
  EXPECT_EQ(found.recomputed, 12U);
  EXPECT_EQ(found.whole.size(), 3U);
  EXPECT_TRUE(holds(check_text(found), "whole: shard-000000.h5 to shard-000002.h5\n"));
  EXPECT_EQ(runtime::read_file(list_shards(folder_.path())[1]), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 3);
}

TEST_F(DatasetCheckTest, IdsOfVersion1AreRecomputedWhereTheyWereImported) {
  fs::copy(DESTA_SOURCE_DIR "/tests/datagen/fixtures/version-1/shard-000000.h5",
           folder_ / "shard-000000.h5");
  EXPECT_EQ(check().problems, 0U);
  EXPECT_EQ(check().recomputed, 3U);
}

TEST_F(DatasetCheckTest, NamesEachDamagedShardAndRowAndWhatIsWhole) {
  write_described(folder_.path(), 0, 25, 5);
  const auto shards = list_shards(folder_.path());
  fs::resize_file(shards[1], fs::file_size(shards[1]) - 100);
  overwrite(shards[3], "Response number 16", "Response number 61");
  overwrite(shards[3], "Response number 18", "Response number 81");
  const DatasetCheck found = check();
  ASSERT_EQ(found.problems, 3U);
  EXPECT_TRUE(problems_[0].starts_with(shards[1].string())) << problems_[0];
  EXPECT_TRUE(problems_[1].starts_with(shards[3].string() + ": row 1 ")) << problems_[1];
  EXPECT_TRUE(problems_[2].starts_with(shards[3].string() + ": row 3 ")) << problems_[2];
  EXPECT_EQ(found.rows, 18U);
  const std::string text = check_text(found);
  EXPECT_TRUE(holds(text, "3 of 5 shards are whole")) << text;
  EXPECT_TRUE(holds(text, "whole: shard-000000.h5\nwhole: shard-000002.h5\nwhole: shard-000004.h5\n"))
      << text;
}

TEST_F(DatasetCheckTest, FindsAnIdThatIsNotTheKeyOfItsContents) {
  DatasetWriter writer(folder_.path());
  Row row = described_row(0);
  row.id = described_row(1).id;
  writer.append(row);
  writer.finish();
  EXPECT_EQ(check().problems, 1U);
  EXPECT_TRUE(holds(problems_[0], "row 0: its id " + row.id + " is not the key")) << problems_[0];
}

TEST_F(DatasetCheckTest, FindsAnIdThatIsThereTwice) {
  write_described(folder_.path(), 0, 10, 5);
  fs::copy(folder_ / "shard-000001.h5", folder_ / "shard-000002.h5");
  EXPECT_EQ(check().problems, 5U);
  EXPECT_TRUE(holds(problems_[0], "shard-000002.h5: row ")) << problems_[0];
  EXPECT_TRUE(holds(problems_[0], " of shard-000001.h5")) << problems_[0];
}

TEST_F(DatasetCheckTest, FindsKeysThatAreNotTheIds) {
  write_described(folder_.path(), 0, 3, 5);
  const fs::path shard = folder_ / "shard-000000.h5";
  const std::uint64_t key = key_of(described_row(1).id) + 1;
  change_hdf5(shard, [&](hid_t file) {  // with a checksum that is right
    const std::vector<std::uint64_t> keys = {key_of(described_row(0).id), key,
                                             key_of(described_row(2).id)};
    const Hdf5Handle column(H5Dopen2(file, "key", H5P_DEFAULT), H5Dclose);
    ASSERT_GE(H5Dwrite(column.get(), H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, keys.data()), 0);
    const std::string sum =
        runtime::to_hex(runtime::hash64(std::as_bytes(std::span(keys)), keys.size()));
    const char* text = sum.c_str();
    const Hdf5Handle attribute(H5Aopen(file, "key_checksum", H5P_DEFAULT), H5Aclose);
    const Hdf5Handle type(H5Aget_type(attribute.get()), H5Tclose);
    ASSERT_GE(H5Awrite(attribute.get(), type.get(), &text), 0);
  });
  EXPECT_EQ(check().problems, 1U);
  EXPECT_TRUE(holds(problems_[0], "row 1: its id is " + described_row(1).id)) << problems_[0];
}

TEST_F(DatasetCheckTest, NamesADamagedLineOfWhatFiltersTookOut) {
  write_described(folder_.path(), 0, 3, 5);
  append_rejected(folder_.path(), {{described_row(7), {"min_words", "2 words"}}, {described_row(8), {"min_words", ""}}});
  EXPECT_EQ(check().problems, 0U);
  overwrite(rejected_file(folder_.path()), "\"reason\"", "\"r?ason\"");
  ASSERT_EQ(check().problems, 1U);
  EXPECT_TRUE(problems_[0].starts_with(rejected_file(folder_.path()).string() + ":1: ")) << problems_[0];
}

TEST_F(DatasetCheckTest, LooksForRecordingsWhenAsked) {
  DatasetWriter writer(folder_.path());
  for (int i = 0; i < 6; ++i) {
    Row row = described_row(i);
    row.audio_filepath = (folder_ / fmt::format("{}.wav", i / 2)).string();
    row.decoding.clear();
    writer.append(row);
  }
  writer.finish();
  write_text(folder_ / "0.wav", "sound");
  write_text(folder_ / "1.wav", "");
  EXPECT_EQ(check().problems, 0U);
  const DatasetCheck found = check(true);
  EXPECT_EQ(found.recordings, 3U);
  EXPECT_EQ(found.whole.size(), 1U) << "the shard itself";
  ASSERT_EQ(found.problems, 2U);
  EXPECT_TRUE(holds(problems_[0], "row 2: an empty recording")) << problems_[0];
  EXPECT_TRUE(holds(problems_[1], "row 4: no such recording")) << problems_[1];
}

TEST(DatasetExport, BothLayoutsAreReadBackAsTheyWere) {
  const TestFolder folder;
  DatasetWriter writer(folder / "set", 5);
  for (int i = 0; i < 12; ++i) {
    Row row = described_row(i);
    row.audio_filepath = (i % 2 == 0 ? folder / row.audio_filepath : fs::path("/elsewhere/x.wav")).string();
    writer.append(row);
  }
  writer.finish();
  const Dataset dataset = Dataset::open(folder / "set");
  for (const Layout layout : {Layout::kDesta2, Layout::kDesta25}) {
    const fs::path file = folder / "rows.jsonl";
    EXPECT_EQ(export_jsonl(folder / "set", file, layout, {}).rows, 12U);
    const ManifestReport manifest = read_manifest(file);
    EXPECT_TRUE(manifest.problems.empty());
    ASSERT_EQ(manifest.rows.size(), 12U);
    for (std::size_t i = 0; i < 12; ++i) {
      const Row row = dataset.row(i);
      const ManifestRow& back = manifest.rows[i];
      EXPECT_EQ(back.audio, row.audio_filepath);
      EXPECT_EQ(back.transcription, row.transcription);
      EXPECT_EQ(back.prompt, row.prompt);
      EXPECT_EQ(back.response, row.response);
      if (layout == Layout::kDesta2) {
        EXPECT_EQ(back.duration, row.duration);
        EXPECT_EQ(back.fields.size(), 5U);
      } else {
        EXPECT_EQ(back.seed_description, row.seed_transcript);
        EXPECT_EQ(back.fields["dataset"], "set");
        EXPECT_EQ(back.fields["messages"][0]["audios"][0]["text"], row.transcription);
        EXPECT_EQ(back.fields.size(), 6U);
      }
    }
    DatasetWriter again(folder / "again", 100);
    EXPECT_EQ(import_jsonl(file, "published", again).rows, 12U);
  }
}

TEST(DatasetExport, TakesOnlyTheRowsThatAreSelected) {
  const TestFolder folder;
  write_described(folder / "set", 0, 12, 5);
  const fs::path file = folder / "rows.jsonl";
  const auto selected = [&](const std::vector<Selection>& selections) {
    return export_jsonl(folder / "set", file, Layout::kDesta2, selections).rows;
  };
  EXPECT_EQ(selected({{"gender", "Female"}}), 6U);
  EXPECT_EQ(selected({{"gender", "Female"}, {"pitch", "Low"}}), 2U);  // 0 and 6
  EXPECT_EQ(read_manifest(file).rows.size(), 2U);
  const std::string message =
      message_of<DataError>([&] { (void)selected({{"gender", "Mal"}, {"mood", "Good"}}); });
  EXPECT_TRUE(holds(message, "gender is Female, Male")) << message;
  EXPECT_TRUE(holds(message, "no row has the attribute mood")) << message;
  EXPECT_EQ(read_manifest(file).rows.size(), 2U) << "the file of before";
}

TEST(DatasetExport, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(layout_of("desta2"), Layout::kDesta2);
  EXPECT_EQ(layout_of("desta2.5"), Layout::kDesta25);
  EXPECT_TRUE(holds(message_of<ConfigError>([] { (void)layout_of("desta3"); }), "desta2 or desta2.5"));
  EXPECT_EQ(parse_selection("a=b=c"), Selection("a", "b=c"));
  for (const char* text : {"", "a", "=b", "a="}) {
    EXPECT_THROW((void)parse_selection(text), ConfigError) << text;
  }
}

TEST(DatasetExport, AFullDiskIsNamedAndLeavesNothing) {
  const TestFolder folder;
  write_described(folder / "set", 0, 200, 100);
  EXPECT_TRUE(holds(message_of<InternalError>([&] {
                      (void)export_jsonl(folder / "set", "/dev/full", Layout::kDesta2, {});
                    }),
                    "/dev/full: cannot write"));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  {
    const FileSizeLimit limit(4096);
    EXPECT_THROW((void)export_jsonl(folder / "set", folder / "rows.jsonl", Layout::kDesta2, {}),
                 InternalError);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1) << "only the dataset";
  EXPECT_THROW((void)export_jsonl(folder / "set", folder.path(), Layout::kDesta2, {}), InternalError);
}

TEST(DatasetMerge, TakesEachIdOnceAndTheFirst) {
  const TestFolder folder;
  write_described(folder / "a", 0, 12, 5);
  {
    DatasetWriter writer(folder / "b", 4);
    Row other = described_row(3);
    other.response = "Another answer.";
    writer.append(other);
    for (int i = 10; i < 20; ++i) {
      writer.append(described_row(i));
    }
    writer.finish();
  }
  const auto report = merge_datasets(folder / "out", {folder / "a", folder / "b"}, 7);
  ASSERT_EQ(report.size(), 2U);
  EXPECT_EQ(report[0].taken, 12U);
  EXPECT_EQ(report[0].duplicates, 0U);
  EXPECT_EQ(report[1].taken, 8U);
  EXPECT_EQ(report[1].duplicates, 3U);
  const Dataset merged = Dataset::open(folder / "out");
  ASSERT_EQ(merged.size(), 20U);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(merged.row(static_cast<std::size_t>(i)), described_row(i));
  }
  EXPECT_EQ(list_shards(folder / "out").size(), 3U);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 3) << "nothing beside them";
}

TEST(DatasetMerge, WhatFiltersTookOutGoesAlongUnlessItIsARowNow) {
  const TestFolder folder;
  write_described(folder / "a", 0, 3, 5);
  write_described(folder / "b", 3, 3, 5);
  const auto rejected = [](int i, const std::string& filter) {
    return RejectedRow{described_row(i), {filter, "a reason"}};
  };
  // 4 is a row of b, 20 was taken out of both, and by a first.
  append_rejected(folder / "a", {rejected(4, "min_words"), rejected(20, "min_words")});
  append_rejected(folder / "b", {rejected(20, "refusals"), rejected(21, "refusals")});
  const auto report = merge_datasets(folder / "out", {folder / "a", folder / "b"});
  EXPECT_EQ(report[0].rejected, 1U);
  EXPECT_EQ(report[1].rejected, 1U);
  EXPECT_EQ(Dataset::open(folder / "out").size(), 6U);
  const RejectedReport kept = read_rejected(folder / "out");
  EXPECT_TRUE(kept.problems.empty());
  EXPECT_EQ(kept.rows, (std::vector<RejectedRow>{rejected(20, "min_words"), rejected(21, "refusals")}));
}

TEST(DatasetMerge, WhatAKilledMergeLeftIsNotTaken) {
  const TestFolder folder;
  write_described(folder / "a", 0, 12, 5);
  write_described(folder / ".out.merging", 50, 5, 5);
  write_text(folder / ".out.merging/.shard-000001.h5.77.tmp", "half");
  merge_datasets(folder / "out", {folder / "a"});
  EXPECT_EQ(Dataset::open(folder / "out").size(), 12U);
  EXPECT_FALSE(fs::exists(folder / ".out.merging"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "out"), {}), 1);
}

TEST(DatasetMerge, RefusesToWriteIntoAnInputOrOverAnything) {
  const TestFolder folder;
  write_described(folder / "a", 0, 12, 5);
  fs::create_directory_symlink(folder / "a", folder / "link");
  for (const char* output : {"a", "a/", "a/b", "link", "link/b", "a/../a", ""}) {
    EXPECT_TRUE(holds(message_of<ConfigError>([&] {
                        merge_datasets(folder / output, {folder / "a"});
                      }),
                      "merge into a new folder"))
        << output;
  }
  write_described(folder / "b", 20, 2, 5);
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { merge_datasets(folder / "b", {folder / "a"}); }),
                    "is there already"));
  EXPECT_EQ(Dataset::open(folder / "a").size(), 12U);
  EXPECT_EQ(Dataset::open(folder / "b").size(), 2U);
  fs::create_directory(folder / "empty");
  merge_datasets(folder / "empty", {folder / "a", folder / "b"});
  EXPECT_EQ(Dataset::open(folder / "empty").size(), 14U);
}

TEST(DatasetMerge, OneAtATime) {
  const TestFolder folder;
  write_described(folder / "a", 0, 12, 5);
  const auto lock = runtime::FileLock::try_take(folder / ".out.merging.lock");
  EXPECT_TRUE(holds(message_of<ConfigError>([&] { merge_datasets(folder / "out", {folder / "a"}); }),
                    "another process"));
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(DatasetMerge, ADamagedInputOrAFullDiskLeavesNothing) {
  const TestFolder folder;
  write_described(folder / "a", 0, 12, 5);
  write_described(folder / "b", 20, 12, 5);
  {
    const FileSizeLimit limit(4096);
    EXPECT_THROW(merge_datasets(folder / "out", {folder / "a", folder / "b"}), InternalError);
  }
  overwrite(folder / "b/shard-000001.h5", "Response number 26", "Response number 62");
  EXPECT_TRUE(holds(message_of<DataError>([&] {
                      merge_datasets(folder / "out", {folder / "a", folder / "b"});
                    }),
                    "shard-000001.h5: row 1 "));
  EXPECT_THROW(merge_datasets(folder / "out", {folder / "a", folder / "c"}), DataError);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 2) << "a and b";
}

}  // namespace
}  // namespace desta::datagen
