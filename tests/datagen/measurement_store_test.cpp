#include "datagen/measurement_store.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "described_rows.h"

namespace desta::datagen {
namespace {
namespace fs = std::filesystem;

class MeasurementStoreTest : public ::testing::Test {
 protected:
  MeasurementStoreTest() {
    write_text(folder_ / "a.wav", "one sound");
    write_text(folder_ / "hall.wav", "a room");
  }
  [[nodiscard]] std::optional<std::uint64_t> key(const std::string& words = "Rain falls.", const std::string& room = "",
                                                 const MetadataOptions& options = {},
                                                 const std::vector<std::string>& origins = {}) const {
    return measurement_key(folder_ / "a.wav", words, room.empty() ? fs::path() : folder_ / room, options, origins);
  }
  [[nodiscard]] fs::path file() const { return folder_ / "measured/train.jsonl"; }

  TestFolder folder_;
};

MeasuredRecording recording() {
  Metadata metadata = {attribute("pitch", "High"), attribute("emotion", "Calm")};
  metadata[0].source = Source::kMeasured;
  metadata[0].number = 201.123456789012345;
  metadata[0].confidence = 0.93;
  return {3.9125, metadata};
}

TEST_F(MeasurementStoreTest, WhatWasMeasuredIsFoundByTheNextRun) {
  {
    MeasurementStore store(file());
    EXPECT_FALSE(store.find(*key()));
    store.add(*key(), recording());
    store.add(*key() + 1, {});
  }
  MeasurementStore store(file());
  const auto found = store.find(*key());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->seconds, 3.9125);
  EXPECT_EQ(metadata_to_json(found->metadata), metadata_to_json(recording().metadata)) << "to the bit";
  ASSERT_TRUE(store.find(*key() + 1));
  EXPECT_TRUE(store.find(*key())) << "in any order";
  EXPECT_FALSE(store.find(*key() + 2));
}

TEST_F(MeasurementStoreTest, WhateverAMeasurementDependsOnMakesAnotherKey) {
  MetadataOptions thresholds;
  thresholds.thresholds.c50_low_reverberation_db += 1;
  MetadataOptions blind;
  blind.blind_reverberation = false;
  std::set<std::uint64_t> keys = {*key(), *key("Rain fell."), *key("Rain falls.", "hall.wav"),
                                  *key("Rain falls.", "", thresholds), *key("Rain falls.", "", blind),
                                  *key("Rain falls.", "", {}, {"moods@1"}), *key("Rain falls.", "", {}, {"moods@2"})};
  EXPECT_EQ(keys.size(), 7u);
  EXPECT_EQ(key(), key());
  const auto before = fs::last_write_time(folder_ / "a.wav");
  fs::last_write_time(folder_ / "a.wav", before + std::chrono::seconds(2));
  EXPECT_TRUE(keys.insert(*key()).second) << "the file was changed";
  fs::last_write_time(folder_ / "a.wav", before);
  EXPECT_FALSE(keys.insert(*key()).second);
  write_text(folder_ / "a.wav", "another sound");
  fs::last_write_time(folder_ / "a.wav", before);
  EXPECT_TRUE(keys.insert(*key()).second) << "of another size";
  fs::remove(folder_ / "hall.wav");
  EXPECT_FALSE(key("Rain falls.", "hall.wav")) << "who measures it says that it is missing";
  fs::remove(folder_ / "a.wav");
  EXPECT_FALSE(key());
}

TEST_F(MeasurementStoreTest, WhatAKillOrAnybodyElseHasLeftIsPassedOver) {
  {
    MeasurementStore store(file());
    store.add(1, recording());
    store.add(2, recording());
  }
  const auto whole = fs::file_size(file());
  fs::resize_file(file(), whole - 9);
  {
    MeasurementStore store(file());
    EXPECT_TRUE(store.find(1));
    EXPECT_FALSE(store.find(2));
    store.add(2, recording());
  }
  std::ofstream(file(), std::ios::app) << "nonsense\n{\"key\":\"zz\"}\n[]\n{\"key\":\"0000000000000004\",\"secon}\n";
  {
    MeasurementStore store(file());
    store.add(3, recording());
  }
  MeasurementStore store(file());
  for (const std::uint64_t key : {1, 2, 3}) {
    EXPECT_TRUE(store.find(key)) << key;
  }
  EXPECT_FALSE(store.find(4)) << "damaged within";
}

TEST_F(MeasurementStoreTest, AFileThatCannotBeWrittenIsNamed) {
  const std::string message = message_of<runtime::InternalError>([] { MeasurementStore("/proc/no/train.jsonl"); });
  EXPECT_NE(message.find("/proc/no/train.jsonl"), std::string::npos) << message;
}

}  // namespace
}  // namespace desta::datagen
