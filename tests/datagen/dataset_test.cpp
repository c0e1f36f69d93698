#include "datagen/dataset.h"

#include <gtest/gtest.h>

#include "datagen/metadata.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::ConfigError;
using runtime::DataError;
using runtime::InternalError;

Row make_row(int number) {
  Row row;
  row.audio_filepath = "audio/" + std::to_string(number) + ".wav";
  row.transcription = "Sentence " + std::to_string(number) + ", caf\xc3\xa9.";
  row.seed_transcript = "[00:00:00 - 00:00:02]: \"" + row.transcription + "\" (Gender:Male)";
  row.prompt = "What can you hear from the audio?";
  row.response = std::string(static_cast<std::size_t>(100 + number), 'r');
  row.metadata_json = "[]";
  row.generator = "test";
  row.seed = 1000000000000ULL + static_cast<std::uint64_t>(number);
  row.duration = 0.5 * number;
  row.id = row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator, row.seed,
                   "greedy");
  return row;
}

void write_rows(const fs::path& folder, int first, int count, std::size_t per_shard) {
  DatasetWriter writer(folder, per_shard);
  for (int i = first; i < first + count; ++i) {
    writer.append(make_row(i));
  }
  writer.finish();
}

TEST(Dataset, GivesBackWhatWasWrittenInAnyOrder) {
  const TestFolder folder;
  write_rows(folder.path(), 0, 25, 10);
  EXPECT_EQ(list_shards(folder.path()).size(), 3U);
  const Dataset dataset = Dataset::open(folder.path());
  ASSERT_EQ(dataset.size(), 25U);
  for (const int i : {24, 0, 13, 9, 10, 1}) {
    EXPECT_EQ(dataset.row(static_cast<std::size_t>(i)), make_row(i));
    EXPECT_EQ(dataset.id(static_cast<std::size_t>(i)), make_row(i).id);
  }
  EXPECT_TRUE(dataset.contains(make_row(7).id));
  EXPECT_FALSE(dataset.contains(make_row(25).id));
  EXPECT_THROW(static_cast<void>(dataset.row(25)), InternalError);
}

TEST(Dataset, KeysDifferWhenAnyPartDiffers) {
  const std::string key = row_key("a", "s", "p", "g", 1, "d");
  EXPECT_EQ(key.size(), 16U);
  EXPECT_EQ(key, row_key("a", "s", "p", "g", 1, "d"));
  EXPECT_NE(key, row_key("b", "s", "p", "g", 1, "d"));
  EXPECT_NE(key, row_key("a", "t", "p", "g", 1, "d"));
  EXPECT_NE(key, row_key("a", "s", "q", "g", 1, "d"));
  EXPECT_NE(key, row_key("a", "s", "p", "h", 1, "d"));
  EXPECT_NE(key, row_key("a", "s", "p", "g", 2, "d"));
  EXPECT_NE(key, row_key("a", "s", "p", "g", 1, "e"));
  EXPECT_NE(row_key("ab", "c", "", "", 0, ""), row_key("a", "bc", "", "", 0, ""));
}

TEST(Dataset, WritingARowTwiceIsANoOp) {
  const TestFolder folder;
  write_rows(folder.path(), 0, 7, 5);
  DatasetWriter writer(folder.path(), 5);
  EXPECT_EQ(writer.size(), 7U);
  EXPECT_FALSE(writer.append(make_row(3)));
  EXPECT_TRUE(writer.append(make_row(7)));
  EXPECT_FALSE(writer.append(make_row(7)));
  writer.finish();
  EXPECT_EQ(Dataset::open(folder.path()).size(), 8U);
  EXPECT_EQ(list_shards(folder.path()).size(), 3U);
}

TEST(Dataset, RefusesATornShardAndCanSkipIt) {
  const TestFolder folder;
  write_rows(folder.path(), 0, 20, 5);
  const fs::path torn = list_shards(folder.path())[1];
  fs::resize_file(torn, fs::file_size(torn) / 2);
  const std::string message =
      message_of<DataError>([&] { static_cast<void>(Dataset::open(folder.path())); });
  EXPECT_NE(message.find(torn.string()), std::string::npos) << message;
  EXPECT_NE(message.find("delete it"), std::string::npos) << message;
  EXPECT_THROW(DatasetWriter(folder.path(), 5), DataError);
  const Dataset rest = Dataset::open(folder.path(), DamagedShards::kSkip);
  EXPECT_EQ(rest.size(), 15U);
  ASSERT_EQ(rest.problems().size(), 1U);
  EXPECT_NE(rest.problems()[0].find(torn.filename().string()), std::string::npos);
  EXPECT_FALSE(rest.contains(make_row(5).id));
  // Deleted, it is filled in again under the same name.
  fs::remove(torn);
  write_rows(folder.path(), 0, 20, 5);
  EXPECT_EQ(Dataset::open(folder.path()).size(), 20U);
  EXPECT_TRUE(fs::exists(torn));
}

TEST(Dataset, FindsEveryTruncationAndForeignFiles) {
  const TestFolder folder;
  write_rows(folder.path(), 0, 3, 5);
  const fs::path shard = list_shards(folder.path())[0];
  const auto whole = fs::file_size(shard);
  for (std::uintmax_t size = 0; size < whole; size += 1 + whole / 40) {
    fs::resize_file(shard, size);
    EXPECT_THROW(static_cast<void>(Dataset::open(folder.path())), DataError) << size;
    fs::remove(shard);
    write_rows(folder.path(), 0, 3, 5);
  }
  write_text(shard, "This is not HDF5.");
  EXPECT_THROW(static_cast<void>(Dataset::open(folder.path())), DataError);
}

TEST(Dataset, FindsABitThatFlipped) {
  const TestFolder folder;
  write_rows(folder.path(), 0, 3, 5);
  const fs::path shard = list_shards(folder.path())[0];
  std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const std::size_t at = bytes.find(std::string(102, 'r'));  // within the response of row 2
  ASSERT_NE(at, std::string::npos);
  file.clear();
  file.seekp(static_cast<std::streamoff>(at + 50));
  file.put('s');
  file.close();
  const Dataset dataset = Dataset::open(folder.path());
  EXPECT_EQ(dataset.row(0), make_row(0));
  const std::string message = message_of<DataError>([&] { static_cast<void>(dataset.row(2)); });
  EXPECT_NE(message.find("row 2"), std::string::npos) << message;
}

TEST(Dataset, AFullDiskLosesNothing) {
  const TestFolder folder;
  DatasetWriter writer(folder / "set", 100);
  for (int i = 0; i < 50; ++i) {
    writer.append(make_row(i));
  }
  {
    const FileSizeLimit limit(8192);
    EXPECT_THROW(writer.finish(), InternalError);
  }
  EXPECT_TRUE(list_shards(folder / "set").empty());
  writer.finish();  // the disk has room again
  EXPECT_EQ(Dataset::open(folder / "set").size(), 50U);
}

TEST(Dataset, NeedsAFolderWithShards) {
  const TestFolder folder;
  EXPECT_THROW(static_cast<void>(Dataset::open(folder.path())), DataError);
  EXPECT_THROW(static_cast<void>(Dataset::open(folder / "missing")), DataError);
  EXPECT_THROW(DatasetWriter(folder.path(), 0), ConfigError);
  DatasetWriter writer(folder.path(), 2);
  EXPECT_THROW(writer.append(Row{}), DataError);
}

TEST(Dataset, ImportsPublishedRows) {
  const TestFolder folder;
  write_text(
      folder / "desta25.jsonl",
      R"json({"id": "c.wav", "dataset": "set", "seed_description": "[00:00:00 - 00:00:02]: \"Hey.\" (Gender:Male)", "prompt": "Who?", "response": "He.", "messages": []}
{"audio_filepath": "b.wav", "transcription": "Yo.", "input": "What?", "target": "A man.", "duration": 2, "gender": "Male"}
{"audio_filepath": "d.wav", "transcription": "No answer.", "duration": 2}
broken
)json");
  DatasetWriter writer(folder / "set", 10);
  const ImportReport report = import_jsonl(folder / "desta25.jsonl", "published", writer);
  writer.finish();
  EXPECT_EQ(report.rows, 2U);
  EXPECT_EQ(report.problems.size(), 2U);
  const Dataset dataset = Dataset::open(folder / "set");
  ASSERT_EQ(dataset.size(), 2U);
  EXPECT_EQ(dataset.row(0).transcription, "Hey.");
  EXPECT_EQ(dataset.row(0).response, "He.");
  EXPECT_EQ(dataset.row(0).generator, "published");
  EXPECT_EQ(dataset.row(1).seed_transcript,
            "[00:00:00 - 00:00:02]: \"Yo.\" (Gender:Male, Duration: 2s)");
  EXPECT_EQ(import_jsonl(folder / "desta25.jsonl", "published", writer).rows, 0U);
}

}  // namespace
}  // namespace desta::datagen
