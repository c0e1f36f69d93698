#include "launch/sweep_statistics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace desta::launch {
namespace {

using Answers = std::vector<PairedAnswer>;

TEST(SweepStatistics, TheDeviationIsThatOfASample) {
  const Spread four = spread(std::vector<double>{1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(four.mean, 2.5);
  EXPECT_DOUBLE_EQ(four.deviation, std::sqrt(5.0 / 3.0));
  EXPECT_EQ(four.n, 4u);
  EXPECT_DOUBLE_EQ(spread(std::vector<double>{7}).deviation, 0.0);
}

TEST(SweepStatistics, DifferencesAreMeansOverSeedsAndTheAverageOverTasks) {
  // Task 0: seed 1 gains 1 of 2, seed 2 none of 1. Task 1: seed 1 loses 1 of 1, seed 2 gains 1
  // of 1.
  const std::vector<Answers> seeds = {{{0, 0, 1}, {0, 1, 0}, {1, 0, -1}}, {{0, 0, 0}, {1, 0, 1}}};
  const auto differences = paired_differences(seeds, 2);
  ASSERT_EQ(differences.size(), 3u);
  EXPECT_DOUBLE_EQ(differences[0]->difference, 0.25);
  EXPECT_DOUBLE_EQ(differences[1]->difference, 0.0);
  EXPECT_DOUBLE_EQ(differences[2]->difference, 0.125);
}

TEST(SweepStatistics, OneRecordingOfOneSeedLeavesNothingToResample) {
  const auto differences = paired_differences({{{0, 7, 1}, {0, 7, 0}}}, 1);
  EXPECT_DOUBLE_EQ(differences[0]->low, 0.5);
  EXPECT_DOUBLE_EQ(differences[0]->high, 0.5);
  EXPECT_TRUE(differences[0]->excludes_zero());
}

TEST(SweepStatistics, RecordingsAreResampledWithinASeed) {
  // Two recordings, one gained: a resample has 0, 1/2 or 1 with 1/4, 1/2, 1/4.
  const auto differences = paired_differences({{{0, 0, 1}, {0, 1, 0}}}, 1);
  EXPECT_DOUBLE_EQ(differences[0]->difference, 0.5);
  EXPECT_DOUBLE_EQ(differences[0]->low, 0.0);
  EXPECT_DOUBLE_EQ(differences[0]->high, 1.0);
  EXPECT_FALSE(differences[0]->excludes_zero());
}

TEST(SweepStatistics, SeedsAreResampled) {
  const auto differences = paired_differences({{{0, 0, 1}}, {{0, 0, -1}}}, 1);
  EXPECT_DOUBLE_EQ(differences[0]->difference, 0.0);
  EXPECT_DOUBLE_EQ(differences[0]->low, -1.0);
  EXPECT_DOUBLE_EQ(differences[0]->high, 1.0);
}

TEST(SweepStatistics, QuestionsAboutARecordingStayTogether) {
  // Each recording gains one question and loses one: no resample of recordings differs from 0.
  Answers answers;
  for (std::size_t recording = 0; recording < 10; ++recording) {
    answers.push_back({0, recording, 1});
    answers.push_back({0, recording, -1});
  }
  const auto differences = paired_differences({answers}, 1);
  EXPECT_DOUBLE_EQ(differences[0]->low, 0.0);
  EXPECT_DOUBLE_EQ(differences[0]->high, 0.0);
}

TEST(SweepStatistics, TheIntervalIsThatOfTheBinomialDistribution) {
  // 50 of 100 gained: a resample's sum is binomial(100, 1/2), whose 2.5% and 97.5% points are 40
  // and 60.
  Answers answers;
  for (std::size_t recording = 0; recording < 100; ++recording) {
    answers.push_back({0, recording, recording < 50 ? 1 : 0});
  }
  const auto differences = paired_differences({answers}, 1);
  EXPECT_NEAR(differences[0]->low, 0.40, 0.011);
  EXPECT_NEAR(differences[0]->high, 0.60, 0.011);
  EXPECT_EQ(paired_differences({answers}, 1)[0]->low, differences[0]->low)
      << "fixed random numbers";
}

TEST(SweepStatistics, ATaskWithoutAnswersHasNoDifferenceNorHasTheAverage) {
  const auto differences = paired_differences({{{0, 0, 1}}}, 2);
  EXPECT_TRUE(differences[0]);
  EXPECT_FALSE(differences[1]);
  EXPECT_FALSE(differences[2]);
  EXPECT_FALSE(paired_differences({}, 1)[0]);
  EXPECT_FALSE(paired_differences({{}}, 1)[0]);
}

}  // namespace
}  // namespace desta::launch
