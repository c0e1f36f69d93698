#include "trainer/ahead_schedule.h"

#include <gtest/gtest.h>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

ScheduleShape shape_of(std::int64_t ranks, std::int64_t microbatches) {
  return {.ranks = ranks, .chunks = 2, .microbatches = microbatches, .first_backward = ranks,
          .learning = {ranks}, .trial = 0};
}

std::vector<StageCost> costs_of(std::int64_t ranks, double encoder, double rest) {
  std::vector<StageCost> costs;
  for (std::int64_t stage = 0; stage < 2 * ranks; ++stage) {
    costs.push_back({.forward = stage < ranks ? encoder : rest, .backward = stage < ranks ? 0 : rest});
  }
  return costs;
}

// Three steps in a row: what comes before the first, the first, one that follows, the last.
RankTable three_steps(const AheadTables& tables, std::size_t rank, std::int64_t microbatches) {
  RankTable all = tables.catch_up.ranks[rank];
  for (std::int64_t step = 0; step < 3; ++step) {
    for (Action action : (step < 2 ? tables.step : tables.last).ranks[rank]) {
      action.microbatch += step * microbatches;
      all.push_back(action);
    }
  }
  return all;
}

TEST(AheadSchedule, OverARunEveryPassIsThereOnceAndBehindWhatItNeeds) {
  for (std::int64_t ranks = 1; ranks <= 4; ++ranks) {
    for (const std::int64_t m : {1, 2, 5, 8}) {
      for (const double encoder : {0.3, 1.0, 2.5}) {
        const AheadTables tables = ahead_tables(shape_of(ranks, m), costs_of(ranks, encoder, 1));
        Schedule whole;
        for (std::size_t rank = 0; rank < static_cast<std::size_t>(ranks); ++rank) {
          RankTable table = three_steps(tables, rank, m);
          // Reduce and step are the end of a table of one step; here there are three.
          EXPECT_EQ(std::erase_if(table, [](const Action& a) { return a.op == Op::kReduce || a.op == Op::kStep; }),
                    rank == 0 ? 6u : 0u);
          if (rank == 0) {
            table.push_back({Op::kReduce, 0, 0, 0});
            table.push_back({Op::kStep, 0, 0, 0});
          }
          whole.ranks.push_back(std::move(table));
        }
        EXPECT_NO_THROW(check_schedule(whole, shape_of(ranks, 3 * m), "a run"))
            << ranks << " ranks, " << m << " microbatches, encoder " << encoder;
        // Each step's table can be played to its end by itself: no message crosses from one to the next.
        const auto costs = costs_of(ranks, encoder, 1);
        EXPECT_NO_THROW((void)simulate(tables.step, costs));
        EXPECT_NO_THROW((void)simulate(tables.last, costs));
        EXPECT_NO_THROW((void)simulate(tables.catch_up, costs));
      }
    }
  }
}

// With enough of the encoder to fill the bubbles of 1F1B, (p - 1) (forward + backward) a rank, nearly nothing
// is left of them.
TEST(AheadSchedule, TheEncoderFillsTheBubbles) {
  const auto costs = costs_of(4, 1, 1);
  const Simulation step = simulate(ahead_tables(shape_of(4, 8), costs).step, costs);
  EXPECT_LT(step.bubble(), 0.05);
  const ScheduleShape plain{.ranks = 4, .chunks = 1, .microbatches = 8, .first_backward = 0,
                            .learning = {}, .trial = 0};
  EXPECT_GT(simulate(training_schedule("1f1b", plain), std::vector<StageCost>(4)).bubble(), 0.2);
}

// What keeps activations keeps them as 1F1B does: as many as there are stages behind.
TEST(AheadSchedule, NoMoreIsInFlightThanIn1F1B) {
  const auto costs = costs_of(4, 1, 1);
  const Simulation step = simulate(ahead_tables(shape_of(4, 8), costs).step, costs);
  EXPECT_EQ(step.peak_in_flight, (std::vector<std::int64_t>{4, 3, 2, 1}));
}

TEST(AheadSchedule, AnotherShapeIsRefused) {
  ScheduleShape shape = shape_of(2, 4);
  shape.first_backward = 1;
  EXPECT_THROW((void)ahead_tables(shape, costs_of(2, 1, 1)), runtime::ConfigError);
  shape = shape_of(2, 4);
  shape.chunks = 1;
  EXPECT_THROW((void)training_schedule("ahead", shape), runtime::ConfigError);
  EXPECT_NO_THROW((void)training_schedule("ahead", shape_of(2, 4)));
}

}  // namespace
}  // namespace desta::trainer
