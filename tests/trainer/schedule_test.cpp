#include "trainer/schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/core/error.h"
#include "trainer/schedule_table.h"

namespace desta::trainer {
namespace {

// Forward and backward passes of a table as text: "F0 F1 B0".
std::string passes(const RankTable& table) {
  std::string text;
  for (const auto& action : table) {
    if (action.op == Op::kForward || action.op == Op::kBackward) {
      text += fmt::format("{}{}{}", text.empty() ? "" : " ", action.op == Op::kForward ? 'F' : 'B',
                          action.microbatch);
    }
  }
  return text;
}

bool contains(const RankTable& table, Op op) {
  return std::any_of(table.begin(), table.end(), [&](const Action& a) { return a.op == op; });
}

const std::vector<std::string> kKinds = {"1f1b", "gpipe"};

// The figure of PipeDream-Flush (Narayanan et al. 2021, figure 4): four stages.
TEST(Schedule, OneForwardOneBackwardIsThePapersFigure) {
  const auto schedule = training_schedule("1f1b", {.ranks = 4, .microbatches = 8});
  EXPECT_EQ(passes(schedule.ranks[0]), "F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7");
  EXPECT_EQ(passes(schedule.ranks[1]), "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7");
  EXPECT_EQ(passes(schedule.ranks[2]), "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7");
  EXPECT_EQ(passes(schedule.ranks[3]), "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7");
}

TEST(Schedule, GpipeRunsAllForwardsBeforeTheFirstBackward) {
  const auto schedule = training_schedule("gpipe", {.ranks = 2, .microbatches = 3});
  EXPECT_EQ(passes(schedule.ranks[0]), "F0 F1 F2 B0 B1 B2");
  EXPECT_EQ(passes(schedule.ranks[1]), "F0 F1 F2 B0 B1 B2");
}

// Narayanan et al. 2021, figure 4: four ranks of two stages, here for the first and the last.
TEST(Schedule, InterleavedIsThePapersFigure) {
  const auto schedule =
      training_schedule("interleaved", {.ranks = 4, .chunks = 2, .microbatches = 8});
  const std::string text = to_text(schedule);
  EXPECT_TRUE(text.starts_with("rank 0 | F0.0 F1.0 F2.0 F3.0 F0.1 F1.1 F2.1 F3.1 F4.0 F5.0 F6.0 B0.1 "
                               "F7.0 B1.1 F4.1 B2.1 F5.1 B3.1 F6.1 B0.0 F7.1 B1.0 B2.0 B3.0 B4.1"))
      << text;
  EXPECT_NE(text.find("rank 3 | F0.0 F1.0 F2.0 F3.0 F0.1 B0.1 F1.1 B1.1 F2.1 B2.1 F3.1 B3.1 F4.0 B0.0"),
            std::string::npos)
      << text;
}

TEST(Schedule, EveryScheduleOfEveryShapeTrains) {
  for (const std::string_view kind : {"1f1b", "gpipe", "interleaved"}) {
    for (std::int64_t ranks = 1; ranks <= 5; ++ranks) {
      for (std::int64_t chunks = 1; chunks <= (kind == "interleaved" ? 3 : 1); ++chunks) {
        for (const std::int64_t microbatches : {1, 2, 3, 4, 5, 8, 11}) {
          for (std::int64_t first = 0; first < ranks * chunks; ++first) {
            const ScheduleShape shape{.ranks = ranks,
                                      .chunks = chunks,
                                      .microbatches = microbatches,
                                      .first_backward = first};
            const std::string name =
                fmt::format("{}, {} ranks of {}, {} microbatches, learning from stage {}", kind, ranks,
                            chunks, microbatches, first);
            EXPECT_NO_THROW(check_schedule(training_schedule(kind, shape), shape, name)) << name;
          }
        }
      }
    }
  }
}

TEST(Schedule, SeveralStagesARankNeedTheInterleavedOne) {
  EXPECT_THROW((void)training_schedule("1f1b", {.ranks = 2, .chunks = 2}), runtime::ConfigError);
}

TEST(Schedule, FrozenStagesBeforeTheAdapterHaveNoBackwardPass) {
  for (const auto& kind : kKinds) {
    const auto schedule =
        training_schedule(kind, {.ranks = 4, .microbatches = 5, .first_backward = 2});
    for (std::size_t stage = 0; stage < 4; ++stage) {
      const auto& table = schedule.ranks[stage];
      EXPECT_EQ(contains(table, Op::kBackward), stage >= 2) << kind << " stage " << stage;
      EXPECT_EQ(contains(table, Op::kSendBackward), stage == 3);
      EXPECT_EQ(contains(table, Op::kReceiveBackward), stage == 2);
    }
  }
}

TEST(Schedule, OnlyTheAdaptersStageReducesAndSteps) {
  for (const auto& kind : kKinds) {
    for (std::int64_t adapter = 0; adapter < 3; ++adapter) {
      const auto schedule = training_schedule(
          kind, {.ranks = 3, .microbatches = 4, .first_backward = adapter, .trial = 7});
      for (std::int64_t stage = 0; stage < 3; ++stage) {
        const auto& table = schedule.ranks[static_cast<std::size_t>(stage)];
        EXPECT_EQ(contains(table, Op::kReduce), stage == adapter);
        EXPECT_EQ(contains(table, Op::kStep), stage == adapter);
        for (const auto& action : table) {
          EXPECT_EQ(action.trial, 7) << "every action carries its trial";
        }
      }
      const auto& table = schedule.ranks[static_cast<std::size_t>(adapter)];
      EXPECT_EQ(table[table.size() - 2].op, Op::kReduce);
      EXPECT_EQ(table.back().op, Op::kStep);
    }
  }
}

TEST(Schedule, EvaluationHasForwardPassesOnly) {
  const auto schedule = evaluation_schedule({.ranks = 2, .microbatches = 3});
  EXPECT_EQ(passes(schedule.ranks[0]), "F0 F1 F2");
  EXPECT_EQ(passes(schedule.ranks[1]), "F0 F1 F2");
  for (const auto& table : schedule.ranks) {
    EXPECT_FALSE(contains(table, Op::kReduce) || contains(table, Op::kStep));
  }
}

TEST(Schedule, AnUnknownNameIsAnErrorThatListsTheKnownOnes) {
  try {
    (void)training_schedule("zigzag", {});
    FAIL();
  } catch (const runtime::ConfigError& error) {
    EXPECT_STREQ(error.what(), "pipeline.schedule 'zigzag' is not known; use 1f1b, gpipe, interleaved, ahead or the path of a .csv file");
  }
}

}  // namespace
}  // namespace desta::trainer
