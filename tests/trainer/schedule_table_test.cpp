#include "trainer/schedule_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {
namespace fs = std::filesystem;

class ScheduleTable : public testing::Test {
 protected:
  ScheduleTable() : file_(fs::path(testing::TempDir()) / fmt::format("desta-table-{}.csv", ::getpid())) {}
  ~ScheduleTable() override { fs::remove(file_); }

  // What reading this table says.
  [[nodiscard]] std::string mistake(const std::string& csv, const ScheduleShape& shape) const {
    std::ofstream(file_) << csv;
    try {
      (void)read_schedule(file_, shape);
    } catch (const runtime::ConfigError& error) {
      const std::string what = error.what();
      EXPECT_TRUE(what.starts_with(file_.string())) << what;
      return what.substr(file_.string().size());
    }
    return "";
  }

  fs::path file_;
};

TEST_F(ScheduleTable, WhatIsWrittenReadsBackAsItWas) {
  for (const std::string_view kind : {"1f1b", "gpipe", "interleaved"}) {
    const ScheduleShape shape{.ranks = 3,
                              .chunks = kind == "interleaved" ? 2 : 1,
                              .microbatches = 6,
                              .first_backward = 1};
    const Schedule schedule = training_schedule(kind, shape);
    std::ofstream(file_) << "# a comment\n\n" << to_csv(schedule);
    EXPECT_EQ(make_schedule(file_.string(), shape).ranks, schedule.ranks) << kind;
  }
}

TEST_F(ScheduleTable, ReadsAsOneActionALine) {
  EXPECT_EQ(to_csv(training_schedule("1f1b", {.ranks = 2, .microbatches = 1})),
            "rank,stage,op,microbatch\n"
            "0,0,forward,0\n0,0,send-forward,0\n0,0,receive-backward,0\n0,0,backward,0\n"
            "0,0,reduce,0\n0,0,step,0\n"
            "1,1,receive-forward,0\n1,1,forward,0\n1,1,backward,0\n1,1,send-backward,0\n");
}

TEST_F(ScheduleTable, PassesReadAsOneLineARank) {
  EXPECT_EQ(to_text(training_schedule("1f1b", {.ranks = 2, .microbatches = 2})),
            "rank 0 | F0 F1 B0 B1\nrank 1 | F0 B0 F1 B1\n");
  EXPECT_EQ(to_text(training_schedule("interleaved", {.ranks = 1, .chunks = 2, .microbatches = 1})),
            "rank 0 | F0.0 F0.1 B0.1 B0.0\n");
}

TEST_F(ScheduleTable, EveryMistakeIsNamedWithItsPlace) {
  const ScheduleShape shape{.ranks = 1, .microbatches = 1};
  const std::string good = "0,0,forward,0\n0,0,backward,0\n0,0,reduce,0\n0,0,step,0\n";
  EXPECT_EQ(mistake(good, shape), "");
  EXPECT_EQ(mistake("0,0,forwards,0\n", shape),
            ":1: '0,0,forwards,0' is not an action; write rank,stage,op,microbatch, such as 0,0,forward,3");
  EXPECT_EQ(mistake("0,0,forward\n", shape).substr(0, 4), ":1: ");
  EXPECT_EQ(mistake(good + "1,1,forward,0\n", shape), ":5: rank 1 is not there; the pipeline has 1");
  EXPECT_EQ(mistake("", shape), ": rank 0 has no reduce and step");
  EXPECT_EQ(mistake("0,0,forward,0\n0,0,reduce,0\n0,0,step,0\n", shape),
            ": rank 0: 'backward 0' of stage 0 is missing");
  EXPECT_EQ(mistake("0,0,backward,0\n0,0,forward,0\n0,0,reduce,0\n0,0,step,0\n", shape),
            ": rank 0: 'backward 0' of stage 0 stands before its 'forward'");
  EXPECT_EQ(mistake("0,0,forward,0\n" + good, shape), ": rank 0: 'forward 0' of stage 0 is there twice");
  EXPECT_EQ(mistake("0,0,forward,0\n0,0,send-forward,0\n0,0,backward,0\n0,0,reduce,0\n0,0,step,0\n", shape),
            ": rank 0: 'send-forward 0' of stage 0 has nothing to do");
  EXPECT_EQ(mistake("0,0,forward,1\n" + good, shape), ": microbatch 1 of 1: they count from 0");
  EXPECT_EQ(mistake("0,1,forward,0\n" + good, shape), ": rank 0 has no stage 1");
  EXPECT_EQ(mistake("0,0,forward,0\n0,0,backward,0\n0,0,step,0\n0,0,reduce,0\n", shape),
            ": rank 0: its last two actions are to be reduce and step, and no others such");
}

TEST_F(ScheduleTable, RanksThatWaitForOneAnotherForEverAreFound) {
  // Rank 0 wants the gradient of microbatch 1 before it has sent its activations.
  EXPECT_EQ(mistake("0,0,forward,0\n0,0,send-forward,0\n0,0,forward,1\n0,0,receive-backward,1\n"
                    "0,0,send-forward,1\n0,0,backward,1\n0,0,receive-backward,0\n0,0,backward,0\n"
                    "0,0,reduce,0\n0,0,step,0\n"
                    "1,1,receive-forward,0\n1,1,forward,0\n1,1,backward,0\n1,1,send-backward,0\n"
                    "1,1,receive-forward,1\n1,1,forward,1\n1,1,backward,1\n1,1,send-backward,1\n",
                    {.ranks = 2, .microbatches = 2}),
            ": the schedule never finishes: rank 0 waits for ever at 'receive-backward 1' of stage 0");
}

// Messages are known by their microbatch, so they may be received in another order than sent.
TEST_F(ScheduleTable, AnotherOrderOfReceivingIsATable) {
  EXPECT_EQ(mistake("0,0,forward,0\n0,0,forward,1\n0,0,send-forward,0\n0,0,send-forward,1\n"
                    "0,0,receive-backward,1\n0,0,backward,1\n0,0,receive-backward,0\n0,0,backward,0\n"
                    "0,0,reduce,0\n0,0,step,0\n"
                    "1,1,receive-forward,1\n1,1,forward,1\n1,1,backward,1\n1,1,send-backward,1\n"
                    "1,1,receive-forward,0\n1,1,forward,0\n1,1,backward,0\n1,1,send-backward,0\n",
                    {.ranks = 2, .microbatches = 2}),
            "");
}

TEST_F(ScheduleTable, AMissingFileIsNamed) {
  try {
    (void)make_schedule("/nowhere/table.csv", {});
    FAIL();
  } catch (const runtime::ConfigError& error) {
    EXPECT_STREQ(error.what(), "/nowhere/table.csv: cannot be read; pipeline.schedule names it");
  }
}

}  // namespace
}  // namespace desta::trainer
