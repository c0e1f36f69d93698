#include "trainer/simulator.h"

#include <gtest/gtest.h>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

const std::vector<std::string> kKinds = {"1f1b", "gpipe"};

// Equal stages idle for (p - 1) / (m + p - 1) of the time (Huang et al. 2019), in both schedules.
TEST(Simulation, BubbleOfEqualStagesIsTheTextbooks) {
  for (const auto& kind : kKinds) {
    for (const std::int64_t p : {1, 2, 3, 4, 8}) {
      for (const std::int64_t m : {1, 2, 4, 7, 16}) {
        const auto schedule = training_schedule(kind, {.ranks = p, .microbatches = m});
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

// With v stages a rank the ranks idle for a v-th of that (Narayanan et al. 2021, section 2.2).
TEST(Simulation, InterleavingDividesTheBubble) {
  for (const std::int64_t p : {2, 4}) {
    for (const std::int64_t v : {2, 3}) {
      const std::int64_t m = 4 * p;
      const auto stages = static_cast<std::size_t>(p * v);
      const auto result = simulate(
          training_schedule("interleaved", {.ranks = p, .chunks = v, .microbatches = m}),
          std::vector<StageCost>(stages, {.forward = 1.0, .backward = 2.0}));
      const auto ideal = static_cast<double>(3 * m * v);
      EXPECT_DOUBLE_EQ(result.step_time, ideal + static_cast<double>(3 * (p - 1))) << p << " " << v;
    }
  }
}

TEST(Simulation, MessagesTakeTheirTime) {
  const auto schedule = training_schedule("1f1b", {.ranks = 2, .microbatches = 1});
  const auto result = simulate(schedule,
                               {{.forward = 1, .backward = 2, .send_forward = 0.5, .kept_bytes = 10},
                                {.forward = 3, .backward = 4, .send_backward = 0.25, .kept_bytes = 7}},
                               0.125);
  EXPECT_DOUBLE_EQ(result.step_time, 1 + 0.5 + 3 + 4 + 0.25 + 2 + 0.125);
  EXPECT_DOUBLE_EQ(result.busy[0], 3.125);
  EXPECT_EQ(result.peak_bytes, (std::vector<double>{10, 7}));
  const TimedAction& backward = result.timeline[0][3];
  EXPECT_EQ(backward.action.op, Op::kBackward);
  EXPECT_DOUBLE_EQ(backward.begin, 8.75);
  EXPECT_DOUBLE_EQ(backward.end, 10.75);
}

TEST(Simulation, OneForwardOneBackwardHoldsNoMoreMicrobatchesThanStagesBehind) {
  for (const std::int64_t p : {2, 3, 6}) {
    const auto costs = std::vector<StageCost>(static_cast<std::size_t>(p));
    const auto lean = simulate(training_schedule("1f1b", {.ranks = p, .microbatches = 20}), costs);
    const auto full = simulate(training_schedule("gpipe", {.ranks = p, .microbatches = 20}), costs);
    for (std::int64_t stage = 0; stage < p; ++stage) {
      EXPECT_EQ(lean.peak_in_flight[static_cast<std::size_t>(stage)], p - stage);
      EXPECT_EQ(full.peak_in_flight[static_cast<std::size_t>(stage)], 20);
    }
  }
}

TEST(Simulation, TimeIsThatOfTheSlowestStage) {
  // Stage 1 takes 3 + 3 for each of 4 microbatches, behind one forward of 1, before one backward of 1.
  const auto result = simulate(training_schedule("1f1b", {.ranks = 2, .microbatches = 4}),
                               {{1.0, 1.0}, {3.0, 3.0}});
  EXPECT_DOUBLE_EQ(result.step_time, 1 + 4 * 6 + 1);
  EXPECT_DOUBLE_EQ(result.busy[0], 8);
  EXPECT_DOUBLE_EQ(result.busy[1], 24);
}

TEST(Simulation, ATableThatCannotFinishIsAnErrorNamingStageAndAction) {
  auto schedule = training_schedule("1f1b", {.ranks = 2, .microbatches = 2});
  // Stage 0 now wants the gradient of microbatch 1 before it has sent its activations.
  schedule.ranks[0] = {{Op::kForward, 0},         {Op::kSendForward, 0}, {Op::kReceiveBackward, 1},
                        {Op::kForward, 1},         {Op::kSendForward, 1}, {Op::kBackward, 1},
                        {Op::kReceiveBackward, 0}, {Op::kBackward, 0}};
  try {
    (void)simulate(schedule, std::vector<StageCost>(2));
    FAIL() << "a deadlock went unnoticed";
  } catch (const runtime::ConfigError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("rank 0"), std::string::npos) << what;
    EXPECT_NE(what.find("receive-backward 1"), std::string::npos) << what;
  }
}

}  // namespace
}  // namespace desta::trainer
