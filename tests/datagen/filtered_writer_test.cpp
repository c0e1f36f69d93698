#include "datagen/filtered_writer.h"

#include <atomic>
#include <map>
#include <thread>

#include "datagen/dataset_statistics.h"
#include "described_rows.h"

namespace desta::datagen {
namespace {
namespace fs = std::filesystem;

std::vector<Row> rows(int first, int count) {
  std::vector<Row> all;
  for (int i = first; i < first + count; ++i) {
    all.push_back(described_row(i));
    all.back().response = i % 3 == 0 ? "Short." : "Long enough, number " + std::to_string(i);
  }
  return all;
}

std::vector<std::string> keys_of(const std::vector<Row>& rows) {
  std::vector<std::string> keys;
  for (const Row& row : rows) {
    keys.push_back(row.id);
  }
  return keys;
}

FilterOptions long_ones() {
  FilterOptions options;
  options.min_words = 2;
  return options;
}

std::size_t shard_rows(const fs::path& folder) {
  return list_shards(folder).empty() ? 0 : Dataset::open(folder).size();
}

TEST(FilteredWriter, WhatAFilterTakesOutIsRememberedAndNotAskedForAgain) {
  const TestFolder folder;
  const auto all = rows(0, 9);
  {
    FilteredWriter writer(folder.path(), 4);
    writer.set_filters(long_ones());
    EXPECT_EQ(writer.missing(keys_of(all)), keys_of(all));
    writer.append(all);
    writer.finish();
    EXPECT_EQ(writer.size(), 6u);
    ASSERT_EQ(writer.losses().size(), 1u);
    EXPECT_EQ(writer.losses()[0].filter, "min_words");
    EXPECT_EQ(writer.losses()[0].rows, 3u);
    EXPECT_EQ(writer.losses()[0].sample, "1 words: Short.");
  }
  EXPECT_EQ(shard_rows(folder.path()), 6u);
  const auto rejected = read_rejected(folder.path());
  EXPECT_TRUE(rejected.problems.empty());
  ASSERT_EQ(rejected.rows.size(), 3u);
  EXPECT_EQ(rejected.rows[1].row, all[3]) << "the whole row";
  FilteredWriter again(folder.path(), 4);
  again.set_filters(long_ones());
  EXPECT_TRUE(again.missing(keys_of(all)).empty());
  EXPECT_EQ(again.losses()[0].rows, 3u) << "counted again";
  again.append(all);
  again.finish();
  EXPECT_EQ(shard_rows(folder.path()), 6u);
  EXPECT_EQ(read_rejected(folder.path()).rows, rejected.rows);
}

TEST(FilteredWriter, OtherFiltersJudgeAgainWhatWasRejected) {
  const TestFolder folder;
  const auto all = rows(0, 9);
  {
    FilteredWriter writer(folder.path(), 4);
    writer.set_filters(long_ones());
    writer.append(all);
    writer.finish();
  }
  {
    // Only what is asked for: another trial's rows are its own.
    FilteredWriter writer(folder.path(), 4);
    EXPECT_TRUE(writer.missing({all[3].id}).empty());
    writer.finish();
    EXPECT_EQ(writer.size(), 7u);
  }
  EXPECT_EQ(read_rejected(folder.path()).rows.size(), 2u);
  {
    FilteredWriter writer(folder.path(), 4);
    FilterOptions options = long_ones();
    options.min_words = 0;
    options.refusals = true;
    options.refusal_phrases = {"short"};
    writer.set_filters(options);
    EXPECT_TRUE(writer.missing(keys_of(all)).empty());
    writer.finish();
    EXPECT_EQ(writer.size(), 7u);
  }
  auto rejected = read_rejected(folder.path()).rows;
  ASSERT_EQ(rejected.size(), 2u);
  EXPECT_EQ(rejected[0].rejection.filter, "refusals");
  {
    FilteredWriter writer(folder.path(), 4);
    EXPECT_TRUE(writer.missing(keys_of(all)).empty()) << "no filter at all";
    writer.finish();
  }
  EXPECT_EQ(shard_rows(folder.path()), 9u);
  EXPECT_FALSE(fs::exists(rejected_file(folder.path())));
  EXPECT_EQ(Dataset::open(folder.path()).row(6).response, "Short.");
}

TEST(FilteredWriter, StricterFiltersLeaveRowsWhereTheyAreAndSayThatTheyDoNotPass) {
  const TestFolder folder;
  const auto all = rows(0, 9);
  {
    FilteredWriter writer(folder.path(), 4);
    writer.append(all);
    writer.finish();
  }
  const auto ids_that_pass = [&](const FilteredWriter& writer) {
    std::size_t count = 0;
    for (const Row& row : all) {
      count += writer.passes(row.id) ? 1 : 0;
    }
    return count;
  };
  {
    FilteredWriter writer(folder.path(), 4);
    writer.set_filters(long_ones());
    EXPECT_TRUE(writer.missing(keys_of(all)).empty()) << "they are not written again";
    EXPECT_TRUE(writer.missing(keys_of(all)).empty());
    EXPECT_EQ(ids_that_pass(writer), 6u);
    EXPECT_TRUE(writer.contains(all[3].id));
    EXPECT_FALSE(writer.passes(all[3].id));
    ASSERT_EQ(writer.losses().size(), 1u);
    EXPECT_EQ(writer.losses()[0].rows, 3u) << "counted once, however often it is asked";
    EXPECT_EQ(writer.losses()[0].kept, 3u);
    writer.finish();
  }
  EXPECT_EQ(shard_rows(folder.path()), 9u);
  EXPECT_FALSE(fs::exists(rejected_file(folder.path())));
  {
    // What nobody asks for is not judged: it is another configuration's.
    FilteredWriter writer(folder.path(), 4);
    writer.set_filters(long_ones());
    EXPECT_TRUE(writer.missing({all[1].id}).empty());
    EXPECT_TRUE(writer.losses().empty());
  }
  FilteredWriter writer(folder.path(), 4);
  EXPECT_TRUE(writer.missing(keys_of(all)).empty());
  EXPECT_EQ(ids_that_pass(writer), 9u) << "nothing is lost";
}

TEST(FilteredWriter, OfKeptRowsWithTheSameWordsTheFirstPasses) {
  const TestFolder folder;
  auto all = rows(0, 3);
  for (Row& row : all) {
    row.audio_filepath = "audio/one.wav";
    row.response = "A man speaks.";
  }
  {
    FilteredWriter writer(folder.path(), 100);
    writer.append(all);
    writer.finish();
  }
  FilterOptions options;
  options.duplicates = true;
  FilteredWriter writer(folder.path(), 100);
  writer.set_filters(options);
  EXPECT_TRUE(writer.missing(keys_of(all)).empty());
  EXPECT_TRUE(writer.passes(all[0].id));
  EXPECT_FALSE(writer.passes(all[1].id));
  EXPECT_FALSE(writer.passes(all[2].id));
  EXPECT_EQ(writer.losses()[0].kept, 2u);
}

TEST(FilteredWriter, ARecordingsSameWordsAreKeptOnce) {
  const TestFolder folder;
  FilterOptions options;
  options.duplicates = true;
  auto all = rows(0, 4);
  for (Row& row : all) {
    row.audio_filepath = "audio/one.wav";
    row.response = "A man speaks.";
  }
  all[2].response = "a man speaks";
  all[3].audio_filepath = "audio/two.wav";
  {
    FilteredWriter writer(folder.path(), 100);
    writer.set_filters(options);
    writer.append({all[0], all[1]});
    writer.finish();
  }
  FilteredWriter writer(folder.path(), 100);
  writer.set_filters(options);
  EXPECT_EQ(writer.missing(keys_of(all)), keys_of({all[2], all[3]}));
  writer.append({all[2], all[3]});
  writer.finish();
  EXPECT_EQ(writer.size(), 2u);
  EXPECT_EQ(writer.losses()[0].rows, 2u);
  EXPECT_EQ(writer.losses()[0].filter, "duplicates");
}

// Kills between any two writes: whatever the disk holds then, going on ends in the same place.
TEST(FilteredWriter, AKillAtAnyMomentChangesNothing) {
  FilterOptions options = long_ones();
  options.duplicates = true;
  auto all = rows(0, 60);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].audio_filepath = "audio/" + std::to_string(i / 6) + ".wav";
    if (i % 6 == 5) {
      all[i].response = all[i - 1].response;
    }
  }
  const TestFolder folder;
  const auto run = [&](const fs::path& path, std::size_t stop) {
    FilteredWriter writer(path, 4);
    writer.set_filters(options);
    const auto missing = writer.missing(keys_of(all));
    for (const Row& row : all) {
      if (std::find(missing.begin(), missing.end(), row.id) != missing.end()) {
        if (stop-- == 0) {
          return false;  // what was not published is gone, as with a process that is killed
        }
        writer.append({row});
      }
    }
    writer.finish();
    return true;
  };
  const auto state = [](const fs::path& path) {
    std::map<std::string, std::string> found;
    const Dataset dataset = Dataset::open(path);
    dataset.for_each([&](std::size_t, const Row& row) {
      EXPECT_TRUE(found.emplace(row.id, "row").second) << "twice: " << row.id;
    });
    for (const auto& rejected : read_rejected(path).rows) {
      EXPECT_TRUE(found.emplace(rejected.row.id, rejected.rejection.filter).second);
    }
    return found;
  };
  EXPECT_TRUE(run(folder / "whole", 1000));
  const auto whole = state(folder / "whole");
  EXPECT_EQ(whole.size(), 60u);
  for (const std::size_t stop : {11, 13, 17}) {
    const fs::path path = folder / std::to_string(stop);
    int runs = 1;
    while (!run(path, stop)) {
      ASSERT_LT(++runs, 60);
    }
    EXPECT_GE(runs, 4);
    EXPECT_EQ(state(path), whole) << "stopped after every " << stop;
  }
}

TEST(FilteredWriter, TwoWritersDoNotShareAFolder) {
  const TestFolder folder;
  std::atomic<bool> published = false;
  std::thread second;
  {
    FilteredWriter first(folder.path(), 4);
    second = std::thread([&] {
      FilteredWriter writer(folder.path(), 4);
      EXPECT_TRUE(published) << "it waits for the other, and sees its rows";
      EXPECT_EQ(writer.missing(keys_of(rows(0, 2))), keys_of(rows(1, 1)));
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    first.append(rows(0, 1));
    first.finish();
    published = true;
  }
  second.join();
}

TEST(FilteredWriter, WhatAKilledOneHasLeftIsRemoved) {
  const TestFolder folder;
  for (const char* name : {".shard-000003.h5.4711.tmp", ".rejected.jsonl.4711.tmp", "notes.tmp"}) {
    write_text(folder / name, "half");
  }
  FilteredWriter writer(folder.path(), 4);
  EXPECT_FALSE(fs::exists(folder / ".shard-000003.h5.4711.tmp"));
  EXPECT_FALSE(fs::exists(folder / ".rejected.jsonl.4711.tmp"));
  EXPECT_TRUE(fs::exists(folder / "notes.tmp")) << "none of ours";
}

RejectedRow rejected(int number) { return {described_row(number), {"min_words", "2 words"}}; }

TEST(RejectedRows, HalfALineAtTheEndIsCutOff) {
  const TestFolder folder;
  append_rejected(folder.path(), {rejected(0), rejected(1)});
  const fs::path file = rejected_file(folder.path());
  const auto whole = fs::file_size(file);
  fs::resize_file(file, whole - 7);
  EXPECT_EQ(read_rejected(folder.path()).rows, (std::vector<RejectedRow>{rejected(0)}));
  EXPECT_TRUE(read_rejected(folder.path()).problems.empty()) << "that is what a kill leaves";
  append_rejected(folder.path(), {rejected(1), rejected(2)});
  EXPECT_EQ(read_rejected(folder.path()).rows, (std::vector<RejectedRow>{rejected(0), rejected(1), rejected(2)}));
}

TEST(RejectedRows, ADamagedLineIsNamedAndTheRestKept) {
  const TestFolder folder;
  append_rejected(folder.path(), {rejected(0), rejected(1), rejected(2)});
  overwrite(rejected_file(folder.path()), "\"reason\"", "\"r?ason\"");
  const auto report = read_rejected(folder.path());
  EXPECT_EQ(report.rows, (std::vector<RejectedRow>{rejected(1), rejected(2)}));
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_TRUE(report.problems[0].starts_with(rejected_file(folder.path()).string() + ":1: ")) << report.problems[0];
  FilteredWriter writer(folder.path(), 4);
  EXPECT_EQ(writer.missing({described_row(0).id}).size(), 1u) << "made again";
}

TEST(RejectedRows, AFullDiskIsSaidAndNothingIsLost) {
  const TestFolder folder;
  append_rejected(folder.path(), {rejected(0)});
  std::vector<RejectedRow> many;
  for (int i = 1; i < 40; ++i) {
    many.push_back(rejected(i));
  }
  {
    const FileSizeLimit full(2000);
    const std::string message =
        message_of<runtime::InternalError>([&] { append_rejected(folder.path(), many); });
    EXPECT_NE(message.find(rejected_file(folder.path()).string()), std::string::npos) << message;
    EXPECT_NE(message.find("free some space"), std::string::npos) << message;
  }
  EXPECT_EQ(read_rejected(folder.path()).rows, (std::vector<RejectedRow>{rejected(0)}));
  append_rejected(folder.path(), many);
  EXPECT_EQ(read_rejected(folder.path()).rows.size(), 40u);
}

TEST(RejectedRows, StatisticsCountAndShowThem) {
  const TestFolder folder;
  FilteredWriter writer(folder.path(), 4);
  writer.set_filters(long_ones());
  auto all = rows(0, 9);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].group = i < 5 ? "describe" : "words";
  }
  writer.append(all);
  writer.finish();
  const auto statistics = dataset_statistics(folder.path());
  ASSERT_EQ(statistics.groups.size(), 2u);
  EXPECT_EQ(statistics.groups[0].group, "describe");
  EXPECT_EQ(statistics.groups[0].rows, 3u);
  ASSERT_EQ(statistics.filters.size(), 1u);
  EXPECT_EQ(statistics.filters[0].rows, 3u);
  EXPECT_EQ(statistics.filters[0].samples.size(), 3u);
  const std::string text = statistics_text(statistics);
  for (const char* part : {"taken out by filters: 3 of 9", "min_words", "Short.", "groups of prompts", "describe"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

}  // namespace
}  // namespace desta::datagen
