// The shards themselves: both versions, keys, files that are something else.
#include <gtest/gtest.h>

#include <set>

#include "datagen/dataset_rows.h"
#include "described_rows.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::DataError;

const fs::path kVersion1 = DESTA_SOURCE_DIR "/tests/datagen/fixtures/version-1";

TEST(KeySet, HoldsWhatAnyOtherSetWould) {
  KeySet set;
  std::set<std::uint64_t> other;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    // Few values, zero among them, and such that share their low bits.
    const std::uint64_t key = (i * i % 5003) << (i % 3 == 0 ? 32 : 0);
    EXPECT_EQ(set.insert(key), other.insert(key).second) << key;
  }
  EXPECT_EQ(set.size(), other.size());
  for (std::uint64_t key = 0; key < 6000; ++key) {
    EXPECT_EQ(set.contains(key), other.contains(key)) << key;
    EXPECT_EQ(set.contains(key << 32), other.contains(key << 32)) << key;
  }
  EXPECT_FALSE(KeySet().contains(0));
  EXPECT_FALSE(KeySet().contains(7));
}

TEST(DatasetFormat, AnIdIsItsKeyWhereItIsSixteenDigits) {
  EXPECT_EQ(key_of("0000000000000000"), 0U);
  EXPECT_EQ(key_of("00000000000000ff"), 255U);
  EXPECT_EQ(key_of("fedcba9876543210"), 0xfedcba9876543210U);
  for (const char* other : {"", "ff", "00000000000000FF", "00000000000000fg", "0x000000000000ff",
                            "000000000000000ff"}) {
    EXPECT_EQ(key_of(other), runtime::hash64(other)) << other;
  }
}

// Written by the program before keys and decoding settings were kept.
TEST(DatasetFormat, AShardOfVersion1IsReadAsBefore) {
  const Dataset dataset = Dataset::open(kVersion1);
  ASSERT_EQ(dataset.size(), 3U);
  EXPECT_EQ(dataset.id(0), "db8f91291521689c");
  EXPECT_EQ(dataset.find("db8f91291521689c"), std::optional<std::size_t>(0));
  const Row row = dataset.row(1);
  EXPECT_EQ(row.transcription, "Caf\xc3\xa9 au lait.");
  EXPECT_EQ(row.response, "A woman.");
  EXPECT_EQ(row.decoding, "");
  EXPECT_EQ(row.id, row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator,
                            row.seed, "import"));
}

TEST(DatasetFormat, AWriterGoesOnBehindShardsOfVersion1) {
  const TestFolder folder;
  fs::copy(kVersion1 / "shard-000000.h5", folder / "shard-000000.h5");
  DatasetWriter writer(folder.path(), 2);
  EXPECT_EQ(writer.size(), 3U);
  EXPECT_FALSE(writer.append(Dataset::open(kVersion1).row(2)));
  EXPECT_TRUE(writer.append(described_row(0)));
  writer.finish();
  const Dataset dataset = Dataset::open(folder.path());
  ASSERT_EQ(dataset.size(), 4U);
  EXPECT_EQ(dataset.row(3), described_row(0));
  EXPECT_EQ(dataset.row(2), Dataset::open(kVersion1).row(2));
}

TEST(DatasetFormat, IdsOfAnotherFormAreKept) {
  const TestFolder folder;
  DatasetWriter writer(folder.path(), 2);
  for (int i = 0; i < 4; ++i) {
    Row row = described_row(i);
    row.id = i == 1 ? "VCTK/p225_001" : row.id;
    EXPECT_TRUE(writer.append(row));
    EXPECT_FALSE(writer.append(row));
  }
  const Dataset dataset = Dataset::open(folder.path());
  EXPECT_EQ(dataset.id(1), "VCTK/p225_001");
  EXPECT_EQ(dataset.id(0), described_row(0).id);
  EXPECT_EQ(dataset.id(3), described_row(3).id);
  EXPECT_EQ(dataset.find("VCTK/p225_001"), std::optional<std::size_t>(1));
  EXPECT_FALSE(dataset.contains("VCTK/p225_002"));
  EXPECT_FALSE(DatasetWriter(folder.path(), 2).append([] {
    Row row = described_row(9);
    row.id = "VCTK/p225_001";
    return row;
  }()));
}

TEST(DatasetFormat, TheDecodingIsUnderTheChecksum) {
  Row row = described_row(0);
  const std::uint64_t before = checksum_of(row);
  row.decoding = "temperature=1";
  EXPECT_NE(checksum_of(row), before);
}

TEST(DatasetFormat, ADamagedKeyIsFound) {
  const TestFolder folder;
  write_described(folder.path(), 0, 3, 5);
  const fs::path shard = list_shards(folder.path())[0];
  const std::uint64_t key = key_of(described_row(1).id);
  std::string bytes(reinterpret_cast<const char*>(&key), sizeof(key));
  std::string other = bytes;
  other[3] ^= 1;
  overwrite(shard, bytes, other);
  for (const auto& open : std::vector<std::function<void()>>{
           [&] { static_cast<void>(Dataset::open(folder.path())); },
           [&] { DatasetWriter(folder.path(), 5); }}) {
    const std::string message = message_of<DataError>(open);
    EXPECT_NE(message.find(shard.string()), std::string::npos) << message;
    EXPECT_NE(message.find("keys"), std::string::npos) << message;
  }
}

TEST(DatasetFormat, GroupsAreKeptAndShardsWithoutThemAreAsBefore) {
  const TestFolder folder;
  const auto version_of = [](const fs::path& shard) {
    std::uint32_t version = 0;
    change_hdf5(shard, [&](hid_t file) {
      const Hdf5Handle attribute(H5Aopen(file, "version", H5P_DEFAULT), H5Aclose);
      EXPECT_GE(H5Aread(attribute.get(), H5T_NATIVE_UINT32, &version), 0);
      EXPECT_EQ(H5Lexists(file, "group", H5P_DEFAULT) > 0, version == 3);
    });
    return version;
  };
  DatasetWriter writer(folder.path(), 2);
  for (int i = 0; i < 4; ++i) {
    Row row = described_row(i);
    row.group = i == 2 ? "describe" : "";
    writer.append(row);
  }
  const auto shards = list_shards(folder.path());
  ASSERT_EQ(shards.size(), 2u);
  EXPECT_EQ(version_of(shards[0]), 2u);
  EXPECT_EQ(version_of(shards[1]), 3u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(Dataset::open(folder.path()).row(i).group, i == 2 ? "describe" : "");
  }
  overwrite(shards[1], "describe", "describX");
  EXPECT_THROW((void)Dataset::open(folder.path()).row(2), DataError) << "part of the checksum";
}

TEST(DatasetFormat, AnotherVersionIsRefusedAndNotCalledDamaged) {
  const TestFolder folder;
  write_described(folder.path(), 0, 3, 5);
  const fs::path shard = list_shards(folder.path())[0];
  set_version(shard, 7);
  const std::string message =
      message_of<DataError>([&] { static_cast<void>(Dataset::open(folder.path())); });
  EXPECT_NE(message.find(shard.string() + ": a dataset shard of version 7"), std::string::npos)
      << message;
  EXPECT_EQ(message.find("delete"), std::string::npos) << message;
}

TEST(DatasetFormat, AForeignHdf5FileIsToBeMovedNotDeleted) {
  const TestFolder folder;
  const fs::path shard = folder / "shard-000000.h5";
  Hdf5Handle(H5Fcreate(shard.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  const std::string message =
      message_of<DataError>([&] { static_cast<void>(Dataset::open(folder.path())); });
  EXPECT_NE(message.find(shard.string()), std::string::npos) << message;
  EXPECT_NE(message.find("move it out"), std::string::npos) << message;
}

TEST(DatasetFormat, WhatIsNoFolderOfShardsIsNamed) {
  const TestFolder folder;
  write_text(folder / "file", "text");
  const auto message = [&](const std::string& name) {
    return message_of<DataError>([&] { static_cast<void>(Dataset::open(folder / name)); });
  };
  EXPECT_NE(message("missing").find("no such folder"), std::string::npos);
  EXPECT_NE(message("file").find("give the folder"), std::string::npos);
  EXPECT_NE(message("").find("not one shard"), std::string::npos);
}

TEST(DatasetFormat, APassInOrderGivesEveryRowOnce) {
  const TestFolder folder;
  write_described(folder.path(), 0, 2503, 1200);
  const Dataset dataset = Dataset::open(folder.path());
  std::size_t expected = 0;
  dataset.for_each([&](std::size_t index, const Row& row) {
    EXPECT_EQ(index, expected++);
    EXPECT_EQ(row.id, dataset.id(index));
    if (index % 500 == 3) {
      EXPECT_EQ(row, described_row(static_cast<int>(index)));
    }
  });
  EXPECT_EQ(expected, 2503U);
}

TEST(DatasetFormat, RowsAreFoundAcrossMoreShardsThanStayOpen) {
  const TestFolder folder;
  write_described(folder.path(), 0, 150, 1);
  const Dataset dataset = Dataset::open(folder.path());
  for (int round = 0; round < 2; ++round) {
    for (int i = 149; i >= 0; --i) {
      EXPECT_EQ(dataset.row(static_cast<std::size_t>(i)), described_row(i));
    }
  }
}

TEST(DatasetRows, AreChosenByNumberByIdOrDrawn) {
  const TestFolder folder;
  write_described(folder.path(), 0, 30, 7);
  const Dataset dataset = Dataset::open(folder.path());
  const auto chosen = [&](const RowChoice& choice) {
    return chosen_rows(dataset, folder.path(), choice);
  };
  EXPECT_EQ(chosen({}), std::vector<std::size_t>{0});
  EXPECT_EQ(chosen({.row = 29}), std::vector<std::size_t>{29});
  EXPECT_EQ(chosen({.id = described_row(11).id}), std::vector<std::size_t>{11});
  EXPECT_THROW(static_cast<void>(chosen({.row = 30})), runtime::ConfigError);
  EXPECT_THROW(static_cast<void>(chosen({.id = "abc"})), runtime::ConfigError);
  const auto five = chosen({.random = 5, .seed = 3});
  EXPECT_EQ(five, chosen({.random = 5, .seed = 3}));
  EXPECT_NE(five, chosen({.random = 5, .seed = 4}));
  EXPECT_EQ(std::set(five.begin(), five.end()).size(), 5U);
  auto all = chosen({.random = 99});
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), 30U);
  EXPECT_EQ(all.back(), 29U);
}

}  // namespace
}  // namespace desta::datagen
