#include "trainer/measured_step.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/core/error.h"
#include "support/tiny_job.h"

namespace desta::trainer {
namespace {

namespace fs = std::filesystem;

class MeasuredSteps : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = tests::fresh_folder("measured-steps"); }
  void TearDown() override { fs::remove_all(folder_); }

  [[nodiscard]] fs::path file(std::size_t rank) const {
    return folder_ / (rank == 0 ? "trace.json" : "trace-rank" + std::to_string(rank) + ".json");
  }
  // What a run that goes exactly as it is played writes: `steps` steps, each rank with a clock of its own. The
  // first step takes three times as long.
  void write(const Simulation& played, int steps) const {
    for (std::size_t rank = 0; rank < played.timeline.size(); ++rank) {
      nlohmann::json events = nlohmann::json::array();
      double start = 100.0 * static_cast<double>(rank + 1);
      for (int step = 0; step < steps; ++step) {
        const double slower = step == 0 ? 3 : 1;
        for (const TimedAction& timed : played.timeline[rank]) {
          events.push_back({{"name", name_of(timed.action.op)},
                            {"cat", "pipeline"},
                            {"ph", "X"},
                            {"ts", 1e6 * (start + slower * timed.begin)},
                            {"dur", 1e6 * slower * (timed.end - timed.begin)}});
        }
        start += slower * played.step_time + 0.25;
      }
      std::ofstream(file(rank)) << nlohmann::json{{"traceEvents", events}};
    }
  }
  std::string refusal() const {
    try {
      (void)read_measured_step(folder_, schedule_);
      return "";
    } catch (const runtime::DataError& error) {
      return error.what();
    }
  }

  fs::path folder_;
  Schedule schedule_ = training_schedule(
      "1f1b", {.ranks = 3, .microbatches = 4, .first_backward = 1, .learning = {1}});
  std::vector<StageCost> costs_ = {{.forward = 1.5, .backward = 0},
                                   {.forward = 1, .backward = 2},
                                   {.forward = 1.25, .backward = 0.5}};
};

TEST_F(MeasuredSteps, ARunThatGoesAsPlayedMeasuresAsPlayed) {
  const Simulation played = simulate(schedule_, costs_, 0.75);
  write(played, 5);
  const MeasuredStep measured = read_measured_step(folder_, schedule_);
  EXPECT_EQ(measured.steps, 4);
  EXPECT_NEAR(measured.seconds, played.step_time, 1e-6);
  EXPECT_NEAR(measured.bubble(), played.bubble(), 1e-6);
  EXPECT_NEAR(measured.finish, 0.75, 1e-6);
  for (std::size_t stage = 0; stage < costs_.size(); ++stage) {
    EXPECT_NEAR(measured.costs[stage].forward, costs_[stage].forward, 1e-6);
    EXPECT_NEAR(measured.costs[stage].backward, costs_[stage].backward, 1e-6);
    EXPECT_NEAR(measured.busy[stage], played.busy[stage], 1e-6);
  }
}

// Though each rank's trace counts from another moment.
TEST_F(MeasuredSteps, TheTimelineIsOfOneStepAndOneClock) {
  const Simulation played = simulate(schedule_, costs_, 0.75);
  write(played, 5);
  const Simulation shown = as_played(read_measured_step(folder_, schedule_));
  EXPECT_NEAR(shown.step_time, played.step_time, 1e-6);
  EXPECT_NEAR(shown.bubble(), played.bubble(), 1e-6);
  ASSERT_EQ(shown.timeline.size(), played.timeline.size());
  for (std::size_t rank = 0; rank < played.timeline.size(); ++rank) {
    ASSERT_EQ(shown.timeline[rank].size(), played.timeline[rank].size());
    for (std::size_t i = 0; i < played.timeline[rank].size(); ++i) {
      EXPECT_EQ(shown.timeline[rank][i].action, played.timeline[rank][i].action);
      EXPECT_NEAR(shown.timeline[rank][i].begin, played.timeline[rank][i].begin, 1e-6) << rank << ", " << i;
      EXPECT_NEAR(shown.timeline[rank][i].end, played.timeline[rank][i].end, 1e-6) << rank << ", " << i;
    }
  }
}

TEST_F(MeasuredSteps, WhatIsNoTraceOfThisScheduleIsNamed) {
  EXPECT_NE(refusal().find("trace.json: no such trace; run desta-train with run.trace true"),
            std::string::npos);
  write(simulate(schedule_, costs_, 0.75), 1);
  EXPECT_NE(refusal().find("are not two or more steps"), std::string::npos) << refusal();
  write(simulate(schedule_, costs_, 0.75), 3);
  schedule_ = training_schedule("gpipe", {.ranks = 3, .microbatches = 4, .first_backward = 1, .learning = {1}});
  EXPECT_NE(refusal().find("but the schedule has '"), std::string::npos) << refusal();
  std::ofstream(file(0)) << "{}";
  EXPECT_NE(refusal().find("trace.json: not a trace"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace desta::trainer
