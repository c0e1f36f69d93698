#include "trainer/frozen_front.h"

#include <gtest/gtest.h>

#include "models/safetensors.h"
#include "models/tokenizer.h"
#include "shared_job.h"
#include "trainer/training_layout.h"

namespace desta::trainer {
namespace {

class FrozenFronts : public ::testing::Test {
 protected:
  [[nodiscard]] FrozenFront front() {
    return {partition(shapes_, 1).front(), shapes_, speech_, nullptr};
  }
  static void expect_same(const Activations& one, const Activations& other) {
    ASSERT_EQ(one.size(), other.size());
    for (std::size_t i = 0; i < one.size(); ++i) {
      EXPECT_TRUE(one[i].equal(other[i])) << i;
    }
  }

  TrainingOptions options_ = shared_job();
  ModelShapes shapes_ = read_shapes(options_);
  models::ModelFolder speech_{options_.models.speech};
  models::Tokenizer tokenizer_{options_.models.llm};
  BatchLoader loader_{options_.dataset, tokenizer_, options_.batch, shapes_.adapter.queries, 1};
};

TEST_F(FrozenFronts, SlicesAheadGiveTheSameBits) {
  const auto rows = loader_.training_rows(0, 0);
  const auto others = loader_.training_rows(0, 1);
  const Activations expected = front().take(rows, loader_);
  EXPECT_EQ(expected.size(), 1 + shapes_.adapter.taps.size());
  // Sound and convolutions, then a layer at a time.
  const auto slices = static_cast<int>(1 + shapes_.read_layers());
  for (int begun = 0; begun <= slices; ++begun) {
    FrozenFront ahead = front();
    for (int i = 0; i < begun; ++i) {
      EXPECT_TRUE(ahead.advance(rows, loader_));
      (void)ahead.advance(others, loader_);
    }
    EXPECT_EQ(ahead.advance(rows, loader_), begun < slices) << begun;
    expect_same(ahead.take(rows, loader_), expected);
    expect_same(ahead.take(rows, loader_), expected);  // nothing is left of what was ahead
  }
}

TEST_F(FrozenFronts, WithFeaturesASliceIsARecording) {
  const auto rows = loader_.training_rows(0, 0);
  const FeatureCache features(FeatureFolder::in_memory("frozen-front-test", 0), "frozen-front-test");
  const auto make = [&] { return FrozenFront(partition(shapes_, 1).front(), shapes_, speech_, &features); };
  const Activations expected = make().take(rows, loader_);
  FrozenFront ahead = make();
  std::size_t slices = 0;
  while (ahead.advance(rows, loader_)) {
    ++slices;
  }
  EXPECT_EQ(slices, rows.size());
  expect_same(ahead.take(rows, loader_), expected);
}

}  // namespace
}  // namespace desta::trainer
