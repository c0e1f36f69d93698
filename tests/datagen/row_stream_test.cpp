// Which rows make which step while the dataset is being written: order, back-pressure, the record.
#include "datagen/row_stream.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "runtime/core/error.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

std::vector<std::string> ids(std::size_t count) {
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < count; ++i) {
    ids.push_back(fmt::format("{:016x}", (i * 2654435761U) % 1000003U));
  }
  return ids;
}

class RowStreamTest : public ::testing::Test {
 protected:
  [[nodiscard]] RowStream stream(std::size_t rows, const StreamOptions& options) const {
    return {ids(rows), options, record()};
  }
  [[nodiscard]] std::filesystem::path record() const { return folder_.path() / "stream.jsonl"; }

  TestFolder folder_;
};

constexpr StreamOptions kSmall{.step_rows = 4, .start_rows = 4, .ahead_rows = 8, .seed = 7};

void write(RowStream& stream, std::size_t count) {
  for (const auto row : stream.take(count)) {
    stream.accept(row);
  }
}

TEST_F(RowStreamTest, FirstEpochTakesRowsInTheOrderOfTheirComing) {
  RowStream rows = stream(12, kSmall);
  const auto taken = rows.take(8);
  ASSERT_EQ(taken, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7}));
  for (const auto row : {7, 2, 5}) {
    rows.accept(static_cast<std::size_t>(row));
  }
  EXPECT_FALSE(rows.has(0));
  EXPECT_EQ(rows.missing_for(0), 1U);
  rows.accept(0);
  ASSERT_TRUE(rows.has(0));
  EXPECT_EQ(rows.rows_of(0), (std::vector<std::size_t>{7, 2, 5, 0}));
  EXPECT_EQ(rows.rows_of(0), (std::vector<std::size_t>{7, 2, 5, 0})) << "asked for again";
}

TEST_F(RowStreamTest, WritingWaitsForTraining) {
  RowStream rows = stream(32, kSmall);
  EXPECT_EQ(rows.take(100).size(), 8U);
  EXPECT_TRUE(rows.take(100).empty());
  for (std::size_t row = 0; row < 8; ++row) {
    rows.accept(row);
  }
  EXPECT_TRUE(rows.take(100).empty()) << "eight rows wait for their step";
  (void)rows.rows_of(0);
  EXPECT_EQ(rows.take(100).size(), 4U);
}

TEST_F(RowStreamTest, TrainingWaitsForTheFirstRows) {
  StreamOptions options = kSmall;
  options.start_rows = 6;
  RowStream rows = stream(32, options);
  write(rows, 5);
  EXPECT_EQ(rows.missing_for(0), 1U);
  write(rows, 1);
  EXPECT_TRUE(rows.has(0));
  (void)rows.rows_of(0);
  EXPECT_EQ(rows.missing_for(1), 2U) << "later steps need their own rows alone";
}

TEST_F(RowStreamTest, WhatALostWorkerHadIsWrittenByAnother) {
  RowStream rows = stream(12, kSmall);
  const auto lost = rows.take(3);
  rows.give_back(lost);
  EXPECT_EQ(rows.take(3), lost);
}

TEST_F(RowStreamTest, LaterEpochsDependOnSeedAlone) {
  std::vector<std::vector<std::size_t>> orders;
  for (const bool backwards : {false, true}) {
    std::filesystem::remove(record());
    RowStream rows = stream(10, {.step_rows = 4, .start_rows = 4, .ahead_rows = 10, .seed = 7});
    auto taken = rows.take(10);
    if (backwards) {
      std::ranges::reverse(taken);
    }
    for (const auto row : taken) {
      rows.accept(row);
    }
    for (std::int64_t step = 0; step < 2; ++step) {
      (void)rows.rows_of(step);
    }
    std::vector<std::size_t> order;
    std::set<std::size_t> once;
    for (std::int64_t step = 2; step < 6; ++step) {
      const auto of_step = rows.rows_of(step);
      order.insert(order.end(), of_step.begin(), of_step.end());
      if (step < 4) {
        once.insert(of_step.begin(), of_step.end());
      }
    }
    EXPECT_EQ(once.size(), 8U) << "an epoch has each row once at most";
    orders.push_back(order);
  }
  EXPECT_EQ(orders[0], orders[1]);
}

TEST_F(RowStreamTest, AResumedRunSeesTheSameRows) {
  std::vector<std::vector<std::size_t>> before;
  {
    RowStream rows = stream(20, kSmall);
    for (const auto row : rows.take(8)) {
      rows.accept(7 - row);
    }
    before = {rows.rows_of(0), rows.rows_of(1)};
  }
  RowStream rows = stream(20, kSmall);
  // On disk: the rows of step 0 alone. The checkpoint stands before step 1.
  for (const auto row : before[0]) {
    rows.accept(row);
  }
  rows.start_at(1);
  EXPECT_EQ(rows.missing_for(1), 4U);
  EXPECT_EQ(rows.take(4), before[1]) << "what got lost is written first";
  for (const auto row : before[1]) {
    rows.accept(row);
  }
  EXPECT_EQ(rows.rows_of(1), before[1]);
  write(rows, 8);
  const auto next = rows.rows_of(2);
  for (const auto row : next) {
    EXPECT_GE(row, 8U) << "a row of an earlier step";
  }
}

TEST_F(RowStreamTest, AnUnfinishedLineOfTheRecordIsNoStep) {
  {
    RowStream rows = stream(20, kSmall);
    write(rows, 4);
    (void)rows.rows_of(0);
  }
  std::ofstream(record(), std::ios::app) << R"({"step":1,"epoch":0,"ro)";
  {
    RowStream rows = stream(20, kSmall);
    for (std::size_t row = 0; row < 8; ++row) {
      rows.accept(row);
    }
    EXPECT_EQ(rows.rows_of(1), (std::vector<std::size_t>{4, 5, 6, 7}));
  }
  RowStream again = stream(20, kSmall);
  for (std::size_t row = 0; row < 8; ++row) {
    again.accept(row);
  }
  EXPECT_EQ(again.rows_of(1), (std::vector<std::size_t>{4, 5, 6, 7}));
}

TEST_F(RowStreamTest, RefusesTheRecordOfAnotherConfiguration) {
  {
    RowStream rows = stream(20, kSmall);
    write(rows, 4);
    (void)rows.rows_of(0);
  }
  std::vector<std::string> others = ids(20);
  others[2] = "ffffffffffffffff";
  EXPECT_THROW(RowStream(others, kSmall, record()), runtime::ConfigError);
}

TEST_F(RowStreamTest, RowsThatFiltersRefuseAreNeverWaitedFor) {
  RowStream rows = stream(6, kSmall);
  const auto taken = rows.take(6);
  rows.reject(taken[1]);
  rows.reject(taken[4]);
  for (const auto row : {0, 2, 3, 5}) {
    rows.accept(static_cast<std::size_t>(row));
  }
  EXPECT_TRUE(rows.is_complete());
  EXPECT_EQ(rows.rejected(), 2U);
  EXPECT_EQ(rows.rows_of(0), (std::vector<std::size_t>{0, 2, 3, 5}));
  EXPECT_EQ(std::set<std::size_t>({0, 2, 3, 5}),
            [&] { const auto r = rows.rows_of(1); return std::set<std::size_t>(r.begin(), r.end()); }());
}

// Such a row is never there again: its step would be waited for without end.
TEST_F(RowStreamTest, ARowOfARecordedStepThatAFilterRefusesNowIsAnErrorOfWhateverEpoch) {
  std::set<std::size_t> first;
  std::size_t later = 6;  // a row that was left over in the first epoch
  {
    RowStream rows = stream(6, kSmall);
    write(rows, 6);
    const auto of_step = rows.rows_of(0);
    first.insert(of_step.begin(), of_step.end());
    for (std::int64_t step = 1; later == 6; ++step) {
      for (const auto row : rows.rows_of(step)) {
        later = first.contains(row) ? later : row;
      }
    }
  }
  for (const std::size_t refused : {*first.begin(), later}) {
    RowStream rows = stream(6, kSmall);
    try {
      rows.reject(refused);
      ADD_FAILURE() << refused;
    } catch (const runtime::DataError& error) {
      EXPECT_EQ(error.what(), fmt::format("{}: row {} made a step of this run and is refused by a filter now; use the "
                                          "filters that the run began with, or another run.folder",
                                          record().string(), ids(6)[refused]));
    }
  }
}

// A row with the same words would be the one that is kept, had it come first.
TEST_F(RowStreamTest, NoOtherRowIsWrittenBeforeThoseThatRecordedStepsNeed) {
  {
    RowStream rows = stream(20, kSmall);
    for (const auto row : rows.take(8)) {
      rows.accept(row);
    }
    (void)rows.rows_of(0);
    (void)rows.rows_of(1);
  }
  RowStream rows = stream(20, kSmall);
  rows.start_at(1);  // the rows of step 0 are lost, too: somebody deleted a shard
  const auto taken = rows.take(20);
  EXPECT_EQ(taken, (std::vector<std::size_t>{4, 5, 6, 7, 0, 1, 2, 3}));
  EXPECT_TRUE(rows.take(20).empty());
  for (std::size_t i = 0; i + 1 < taken.size(); ++i) {
    rows.accept(taken[i]);
  }
  EXPECT_TRUE(rows.take(20).empty()) << "one is still to come";
  rows.give_back({taken.back()});
  EXPECT_EQ(rows.take(20), std::vector<std::size_t>{taken.back()}) << "nobody waits for a lost worker";
  rows.accept(taken.back());
  EXPECT_EQ(rows.take(20).size(), 8U);
}

TEST_F(RowStreamTest, TooFewRowsAreRefused) {
  EXPECT_THROW((void)stream(3, kSmall), runtime::ConfigError);
  RowStream rows = stream(5, kSmall);
  const auto taken = rows.take(5);
  rows.accept(taken[0]);
  for (std::size_t i = 1; i < 5; ++i) {
    rows.reject(taken[i]);
  }
  EXPECT_THROW((void)rows.rows_of(0), runtime::DataError);
}

}  // namespace
}  // namespace desta::datagen
