#include "trainer/schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// Forward and backward passes of a table as text: "F0 F1 B0".
std::string passes(const StageTable& table) {
  std::string text;
  for (const auto& action : table) {
    if (action.op == Op::kForward || action.op == Op::kBackward) {
      text += fmt::format("{}{}{}", text.empty() ? "" : " ", action.op == Op::kForward ? 'F' : 'B',
                          action.microbatch);
    }
  }
  return text;
}

bool contains(const StageTable& table, Op op) {
  return std::any_of(table.begin(), table.end(), [&](const Action& a) { return a.op == op; });
}

const std::vector<std::string> kKinds = {"1f1b", "gpipe"};

// The figure of PipeDream-Flush (Narayanan et al. 2021, figure 4): four stages.
TEST(Schedule, OneForwardOneBackwardIsThePapersFigure) {
  const auto schedule = training_schedule("1f1b", {.stages = 4, .microbatches = 8});
  EXPECT_EQ(passes(schedule.stages[0]), "F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7");
  EXPECT_EQ(passes(schedule.stages[1]), "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7");
  EXPECT_EQ(passes(schedule.stages[2]), "F0 F1 B0 F2 B1 F3 B2 F4 B3 F5 B4 F6 B5 F7 B6 B7");
  EXPECT_EQ(passes(schedule.stages[3]), "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7");
}

TEST(Schedule, GpipeRunsAllForwardsBeforeTheFirstBackward) {
  const auto schedule = training_schedule("gpipe", {.stages = 2, .microbatches = 3});
  EXPECT_EQ(passes(schedule.stages[0]), "F0 F1 F2 B0 B1 B2");
  EXPECT_EQ(passes(schedule.stages[1]), "F0 F1 F2 B0 B1 B2");
}

TEST(Schedule, ReadsAsATableOfOneActionALine) {
  const auto schedule = training_schedule("1f1b", {.stages = 2, .microbatches = 2});
  EXPECT_EQ(schedule.to_text(),
            "stage 0: forward 0\nstage 0: send-forward 0\n"
            "stage 0: forward 1\nstage 0: send-forward 1\n"
            "stage 0: receive-backward 0\nstage 0: backward 0\n"
            "stage 0: receive-backward 1\nstage 0: backward 1\n"
            "stage 0: reduce 0\nstage 0: step 0\n"
            "stage 1: receive-forward 0\nstage 1: forward 0\nstage 1: backward 0\n"
            "stage 1: send-backward 0\nstage 1: receive-forward 1\nstage 1: forward 1\n"
            "stage 1: backward 1\nstage 1: send-backward 1\n");
}

TEST(Schedule, FrozenStagesBeforeTheAdapterHaveNoBackwardPass) {
  for (const auto& kind : kKinds) {
    const auto schedule =
        training_schedule(kind, {.stages = 4, .microbatches = 5, .first_backward = 2});
    for (std::size_t stage = 0; stage < 4; ++stage) {
      const auto& table = schedule.stages[stage];
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
          kind, {.stages = 3, .microbatches = 4, .first_backward = adapter, .trial = 7});
      for (std::int64_t stage = 0; stage < 3; ++stage) {
        const auto& table = schedule.stages[static_cast<std::size_t>(stage)];
        EXPECT_EQ(contains(table, Op::kReduce), stage == adapter);
        EXPECT_EQ(contains(table, Op::kStep), stage == adapter);
        for (const auto& action : table) {
          EXPECT_EQ(action.trial, 7) << "every action carries its trial";
        }
      }
      const auto& table = schedule.stages[static_cast<std::size_t>(adapter)];
      EXPECT_EQ(table[table.size() - 2].op, Op::kReduce);
      EXPECT_EQ(table.back().op, Op::kStep);
    }
  }
}

TEST(Schedule, EvaluationHasForwardPassesOnly) {
  const auto schedule = evaluation_schedule({.stages = 2, .microbatches = 3});
  EXPECT_EQ(passes(schedule.stages[0]), "F0 F1 F2");
  EXPECT_EQ(passes(schedule.stages[1]), "F0 F1 F2");
  for (const auto& table : schedule.stages) {
    EXPECT_FALSE(contains(table, Op::kReduce) || contains(table, Op::kStep));
  }
}

TEST(Schedule, AnUnknownNameIsAnErrorThatListsTheKnownOnes) {
  try {
    (void)training_schedule("zigzag", {});
    FAIL();
  } catch (const runtime::ConfigError& error) {
    EXPECT_STREQ(error.what(), "pipeline.schedule 'zigzag' is not known; use 1f1b or gpipe");
  }
}

// Equal stages idle for (p - 1) / (m + p - 1) of the time (Huang et al. 2019), in both schedules.
TEST(Simulation, BubbleOfEqualStagesIsTheTextbooks) {
  for (const auto& kind : kKinds) {
    for (const std::int64_t p : {1, 2, 3, 4, 8}) {
      for (const std::int64_t m : {1, 2, 4, 7, 16}) {
        const auto schedule = training_schedule(kind, {.stages = p, .microbatches = m});
        const auto result = simulate(
            schedule, std::vector<StageCost>(static_cast<std::size_t>(p), {1.0, 2.0}));
        EXPECT_DOUBLE_EQ(result.step_time, 3.0 * static_cast<double>(m + p - 1));
        EXPECT_NEAR(result.bubble(), static_cast<double>(p - 1) / static_cast<double>(m + p - 1),
                    1e-12)
            << kind << " p " << p << " m " << m;
      }
    }
  }
}

TEST(Simulation, OneForwardOneBackwardHoldsNoMoreMicrobatchesThanStagesBehind) {
  for (const std::int64_t p : {2, 3, 6}) {
    const auto costs = std::vector<StageCost>(static_cast<std::size_t>(p));
    const auto lean = simulate(training_schedule("1f1b", {.stages = p, .microbatches = 20}), costs);
    const auto full = simulate(training_schedule("gpipe", {.stages = p, .microbatches = 20}), costs);
    for (std::int64_t stage = 0; stage < p; ++stage) {
      EXPECT_EQ(lean.peak_in_flight[static_cast<std::size_t>(stage)], p - stage);
      EXPECT_EQ(full.peak_in_flight[static_cast<std::size_t>(stage)], 20);
    }
  }
}

TEST(Simulation, TimeIsThatOfTheSlowestStage) {
  // Stage 1 takes 3 + 3 for each of 4 microbatches, behind one forward of 1, before one backward of 1.
  const auto result = simulate(training_schedule("1f1b", {.stages = 2, .microbatches = 4}),
                               {{1.0, 1.0}, {3.0, 3.0}});
  EXPECT_DOUBLE_EQ(result.step_time, 1 + 4 * 6 + 1);
  EXPECT_DOUBLE_EQ(result.busy[0], 8);
  EXPECT_DOUBLE_EQ(result.busy[1], 24);
}

TEST(Simulation, ATableThatCannotFinishIsAnErrorNamingStageAndAction) {
  auto schedule = training_schedule("1f1b", {.stages = 2, .microbatches = 2});
  // Stage 0 now wants the gradient of microbatch 1 before it has sent its activations.
  schedule.stages[0] = {{Op::kForward, 0},         {Op::kSendForward, 0}, {Op::kReceiveBackward, 1},
                        {Op::kForward, 1},         {Op::kSendForward, 1}, {Op::kBackward, 1},
                        {Op::kReceiveBackward, 0}, {Op::kBackward, 0}};
  try {
    (void)simulate(schedule, std::vector<StageCost>(2));
    FAIL() << "a deadlock went unnoticed";
  } catch (const runtime::InternalError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("stage 0"), std::string::npos) << what;
    EXPECT_NE(what.find("receive-backward 1"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace desta::trainer
