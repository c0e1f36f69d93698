#include "models/kv_cache.h"

#include <gtest/gtest.h>

#include <limits>

#include "model_fixtures.h"
#include "models/llama.h"

namespace desta::models {
namespace {

constexpr double kSameFloat32 = 2e-5;  // another order of summation

class CachedDecoding : public testing::Test {
 protected:
  CachedDecoding()
      : source_(fixture("llama-untied")),
        config_(LlamaConfig::load(fixture("llama-untied"))),
        llama_(config_, LlamaPart::whole(config_), source_) {}

  // Logits behind the last of `tokens`, without a cache.
  [[nodiscard]] Tensor reference(const std::vector<std::int64_t>& tokens) const {
    const at::NoGradGuard no_grad;
    const Tensor input = at::tensor(tokens, at::kLong).unsqueeze(0);
    return llama_.logits(llama_.run_layers(llama_.embed(input)))[0].select(0, input.size(1) - 1);
  }

  // Feeds row b the tokens `rows[b]`, padded to the longest with `padding`, and compares each row
  // with a full forward over `seen[b]`, which grows by them.
  void feed(const std::vector<std::vector<std::int64_t>>& rows, KvCache& cache,
            std::vector<std::vector<std::int64_t>>& seen, std::int64_t padding = 17) const {
    std::size_t longest = 0;
    for (const auto& row : rows) {
      longest = std::max(longest, row.size());
    }
    std::vector<std::int64_t> counts;
    std::vector<Tensor> padded;
    for (std::size_t b = 0; b < rows.size(); ++b) {
      auto row = rows[b];
      counts.push_back(static_cast<std::int64_t>(row.size()));
      seen[b].insert(seen[b].end(), row.begin(), row.end());
      row.resize(longest, padding);
      padded.push_back(at::tensor(row, at::kLong));
    }
    const Tensor logits = llama_.next_logits(llama_.embed(at::stack(padded)), counts, cache);
    EXPECT_EQ(logits.scalar_type(), at::kFloat);
    for (std::size_t b = 0; b < rows.size(); ++b) {
      EXPECT_LT(largest_difference(logits[static_cast<std::int64_t>(b)], reference(seen[b])),
                kSameFloat32 * 10)
          << "row " << b;
      EXPECT_EQ(cache.lengths()[b], static_cast<std::int64_t>(seen[b].size()));
    }
  }

  ModelFolder source_;
  LlamaConfig config_;
  Llama llama_;
};

TEST_F(CachedDecoding, EqualsTheFullForward) {
  KvCache cache = llama_.make_cache(2, 32);
  std::vector<std::vector<std::int64_t>> seen(2);
  feed({{1, 2, 3, 4, 5}, {6, 7, 8, 9, 10}}, cache, seen);
  feed({{11}, {12}}, cache, seen);
  feed({{13, 14, 15}, {16, 17, 18}}, cache, seen);
}

TEST_F(CachedDecoding, EqualsTheFullForwardForRowsOfDifferentLengths) {
  KvCache cache = llama_.make_cache(3, 40);
  std::vector<std::vector<std::int64_t>> seen(3);
  feed({{1, 2, 3, 4, 5, 6, 7}, {8}, {9, 10, 11}}, cache, seen);
  for (std::int64_t step = 0; step < 6; ++step) {
    feed({{20 + step}, {40 + step}, {60 + step}}, cache, seen);
  }
  // A later prompt of ragged rows, behind ragged rows.
  feed({{101}, {102, 103, 104, 105}, {106, 107}}, cache, seen);
  feed({{110}, {111}, {112}}, cache, seen);
}

TEST_F(CachedDecoding, GoesOnAfterRowsHaveLeft) {
  KvCache cache = llama_.make_cache(4, 32);
  std::vector<std::vector<std::int64_t>> seen(4);
  feed({{1, 2, 3, 4, 5, 6}, {7, 8}, {9, 10, 11}, {12}}, cache, seen);
  cache.keep_rows({3, 1});  // another order, and the longest row is gone
  std::vector<std::vector<std::int64_t>> kept = {seen[3], seen[1]};
  EXPECT_EQ(cache.batch(), 2);
  EXPECT_EQ(cache.max_length(), 2);
  feed({{30}, {31}}, cache, kept);
  feed({{32}, {33}}, cache, kept);
}

TEST_F(CachedDecoding, PaddingHasNoSay) {
  const auto run = [&](std::int64_t padding) {
    KvCache cache = llama_.make_cache(2, 16);
    const Tensor tokens =
        at::tensor(std::vector<std::int64_t>{1, 2, 3, 4, 5, padding, padding, padding}, at::kLong)
            .view({2, 4});
    (void)llama_.next_logits(llama_.embed(tokens), {4, 1}, cache);
    const Tensor next = at::full({2, 1}, 9, at::kLong);
    return llama_.next_logits(llama_.embed(next), {1, 1}, cache);
  };
  EXPECT_TRUE(same_bits(run(0), run(250)));
}

TEST(KvCache, HidesWhatLiesBehindEachRowsOwnPositions) {
  KvCache cache(1, 2, 1, 8, 2, at::kFloat);
  cache.advance({3, 1});
  const float no = -std::numeric_limits<float>::infinity();
  // Two new tokens: at positions 3 and 4 of row 0, at 1 and 2 of row 1; five positions are visible.
  EXPECT_TRUE(at::equal(cache.new_positions(2), at::tensor({3, 4, 1, 2}, at::kLong).view({2, 2})));
  const Tensor expected = at::tensor({0.F, 0.F, 0.F, 0.F, no,   //
                                      0.F, 0.F, 0.F, 0.F, 0.F,  //
                                      0.F, 0.F, no,  no,  no,   //
                                      0.F, 0.F, 0.F, no,  no})
                              .view({2, 1, 2, 5});
  EXPECT_TRUE(at::equal(cache.attention_bias(2), expected));
}

TEST(KvCache, SaysSoWhenItIsFull) {
  KvCache cache(1, 1, 1, 4, 2, at::kFloat);
  cache.advance({3});
  const Tensor two = at::zeros({1, 1, 2, 2});
  EXPECT_THROW(cache.append(0, two, two), runtime::InternalError);
}

}  // namespace
}  // namespace desta::models
