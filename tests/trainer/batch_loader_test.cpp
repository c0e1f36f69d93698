#include "trainer/batch_loader.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "datagen/audio_file.h"
#include "runtime/core/error.h"
#include "shared_job.h"

namespace desta::trainer {
namespace {

constexpr std::int64_t kQueries = 3;

class BatchLoaderTest : public ::testing::Test {
 protected:
  BatchLoaderTest() : options_(shared_job()), tokenizer_(options_.models.llm) {}
  [[nodiscard]] BatchLoader loader(std::uint64_t seed = 1) const {
    return {options_.dataset, tokenizer_, options_.batch, kQueries, seed};
  }
  TrainingOptions options_;  // 24 rows, 8 a step, 2 a microbatch
  models::Tokenizer tokenizer_;
};

TEST_F(BatchLoaderTest, EveryRowComesOncePerEpoch) {
  const auto batches = loader();
  ASSERT_EQ(batches.rows(), 24u);
  ASSERT_EQ(batches.steps_per_epoch(), 3);
  ASSERT_EQ(batches.microbatches(), 4);
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::multiset<std::size_t> seen;
    for (std::int64_t step = 3 * epoch; step < 3 * epoch + 3; ++step) {
      for (std::int64_t m = 0; m < 4; ++m) {
        const auto rows = batches.training_rows(step, m);
        EXPECT_EQ(rows.size(), 2u);
        seen.insert(rows.begin(), rows.end());
      }
    }
    std::multiset<std::size_t> all;
    for (std::size_t row = 0; row < 24; ++row) {
      all.insert(row);
    }
    EXPECT_EQ(seen, all) << "epoch " << epoch;
  }
}

TEST_F(BatchLoaderTest, RowsOfAStepDoNotDependOnWhoAsksOrWhen) {
  const auto forwards = loader();
  const auto backwards = loader();
  std::vector<std::vector<std::size_t>> first;
  for (std::int64_t step = 0; step < 9; ++step) {
    for (std::int64_t m = 0; m < 4; ++m) {
      first.push_back(forwards.training_rows(step, m));
    }
  }
  for (std::int64_t step = 8; step >= 0; --step) {
    for (std::int64_t m = 3; m >= 0; --m) {
      EXPECT_EQ(backwards.training_rows(step, m), first[static_cast<std::size_t>(step * 4 + m)]);
    }
  }
}

TEST_F(BatchLoaderTest, EpochsAndSeedsAreShuffledDifferently) {
  const auto order = [](const BatchLoader& batches, std::int64_t epoch) {
    std::vector<std::size_t> rows;
    for (std::int64_t i = 0; i < 12; ++i) {
      const auto part = batches.training_rows(3 * epoch + i / 4, i % 4);
      rows.insert(rows.end(), part.begin(), part.end());
    }
    return rows;
  };
  const auto one = loader(1);
  const auto two = loader(2);
  std::vector<std::size_t> all(24);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_NE(order(one, 0), all);
  EXPECT_NE(order(one, 0), order(one, 1));
  EXPECT_NE(order(one, 0), order(two, 0));
}

// Rows of a step, microbatch behind microbatch.
std::vector<std::size_t> rows_of(const BatchLoader& batches, std::int64_t step) {
  std::vector<std::size_t> rows;
  for (std::int64_t m = 0; m < batches.microbatches(); ++m) {
    const auto part = batches.training_rows(step, m);
    rows.insert(rows.end(), part.begin(), part.end());
  }
  return rows;
}

std::vector<std::size_t> sorted(std::vector<std::size_t> rows) {
  std::ranges::sort(rows);
  return rows;
}

TEST_F(BatchLoaderTest, MicrobatchSizeDoesNotChangeTheRowsOfAStep) {
  for (const std::string cut : {"rows", "tokens"}) {
    options_.batch.cut = cut;
    options_.batch.micro_size = 2;
    const auto small = loader();
    options_.batch.micro_size = 8;
    const auto large = loader();
    for (std::int64_t step = 0; step < 6; ++step) {
      const auto rows = large.training_rows(step, 0);
      EXPECT_EQ(cut == "rows" ? rows : sorted(rows),
                cut == "rows" ? rows_of(small, step) : sorted(rows_of(small, step)));
      EXPECT_EQ(small.response_tokens(step), large.response_tokens(step));
    }
  }
}

TEST_F(BatchLoaderTest, ACutByTokensDealsTheStepsRowsIntoMoreEvenMicrobatches) {
  options_.batch.cut = "rows";
  const auto by_rows = loader();
  options_.batch.cut = "tokens";
  const auto by_tokens = loader();
  const auto longest = [](const BatchLoader& batches, std::int64_t step) {
    std::int64_t most = 0;
    for (std::int64_t m = 0; m < batches.microbatches(); ++m) {
      most = std::max(most, batches.text(batches.training_rows(step, m)).packing.total());
    }
    return most;
  };
  int shorter = 0;
  for (std::int64_t step = 0; step < 9; ++step) {
    EXPECT_EQ(sorted(rows_of(by_tokens, step)), sorted(rows_of(by_rows, step)));
    EXPECT_EQ(by_tokens.response_tokens(step), by_rows.response_tokens(step));
    EXPECT_LE(longest(by_tokens, step), longest(by_rows, step)) << step;
    shorter += longest(by_tokens, step) < longest(by_rows, step) ? 1 : 0;
    // Training order within a microbatch.
    const auto order = rows_of(by_rows, step);
    for (std::int64_t m = 0; m < by_tokens.microbatches(); ++m) {
      std::vector<std::ptrdiff_t> places;
      for (const auto row : by_tokens.training_rows(step, m)) {
        places.push_back(std::ranges::find(order, row) - order.begin());
      }
      EXPECT_EQ(places.size(), 2u);
      EXPECT_TRUE(std::ranges::is_sorted(places)) << step << ", " << m;
    }
  }
  EXPECT_GE(shorter, 3) << "of 9 steps";
}

TEST_F(BatchLoaderTest, WhatAllRowsHaveDoesNotChangeTheDeal) {
  const auto few = loader();
  options_.batch.share_prefix = !options_.batch.share_prefix;
  const BatchLoader many(options_.dataset, tokenizer_, options_.batch, 100 * kQueries, 1);
  for (std::int64_t step = 0; step < 9; ++step) {
    EXPECT_EQ(rows_of(few, step), rows_of(many, step));
  }
}

TEST_F(BatchLoaderTest, RowsThatAreFedAreDealtAsThoseOfADataset) {
  const auto batches = loader();
  const auto dataset = datagen::Dataset::open(options_.dataset);
  RowFeed feed(8);
  const BatchLoader fed(feed, tokenizer_, options_.batch, kQueries);
  for (std::int64_t step = 0; step < 3; ++step) {
    options_.batch.cut = "rows";
    const auto order = rows_of(loader(), step);
    options_.batch.cut = "tokens";
    std::vector<datagen::Row> rows;
    for (const auto row : order) {
      rows.push_back(dataset.row(row));
    }
    feed.put(step, rows, step);
    for (std::int64_t m = 0; m < 4; ++m) {
      std::vector<std::size_t> expected = batches.training_rows(step, m);
      for (auto& row : expected) {  // to its number in the feed
        row = static_cast<std::size_t>(8 * step + (std::ranges::find(order, row) - order.begin()));
      }
      EXPECT_EQ(fed.training_rows(step, m), expected) << step << ", " << m;
    }
  }
}

TEST_F(BatchLoaderTest, APassInOrderHasAllRowsAndAShortEnd) {
  options_.batch.micro_size = 5;
  options_.batch.global_size = 5;
  const auto batches = loader();
  ASSERT_EQ(batches.ordered_microbatches(), 5);
  std::vector<std::size_t> rows;
  for (std::int64_t m = 0; m < 5; ++m) {
    const auto part = batches.ordered_rows(m);
    EXPECT_EQ(part.size(), m < 4 ? 5u : 4u);
    rows.insert(rows.end(), part.begin(), part.end());
  }
  std::vector<std::size_t> all(24);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(rows, all);
}

TEST_F(BatchLoaderTest, AResponseEndsWithItsEndToken) {
  const auto batches = loader();
  const auto dataset = datagen::Dataset::open(options_.dataset);
  for (std::size_t row = 0; row < 4; ++row) {
    auto expected = tokenizer_.encode_plain(dataset.row(row).response);
    expected.push_back(tokenizer_.require("<|eot_id|>"));
    EXPECT_EQ(batches.sample(row).response, expected);
  }
}

TEST_F(BatchLoaderTest, SpeechGoesBetweenTheAudioHeaderAndTheTranscription) {
  options_.batch.share_prefix = false;
  const auto text = loader().text({0, 1});
  const auto* tokens = text.tokens.data_ptr<std::int64_t>();
  const std::vector<models::TokenId> before(tokens, tokens + text.speech_at);
  EXPECT_EQ(tokenizer_.decode(before, /*with_special=*/true),
            "<|begin_of_text|><|start_header_id|>audio<|end_header_id|>\n\n");
}

TEST_F(BatchLoaderTest, LearnsEveryResponseTokenFromThePositionBeforeItAndNothingElse) {
  options_.batch.share_prefix = false;
  const auto batches = loader();
  const std::vector<std::size_t> rows = {3, 0, 2};
  const auto text = batches.text(rows);
  std::int64_t at = 0;
  std::int64_t words = 0;  // of the rows before
  std::int64_t begin = 0;  // of the row, packed
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const Sample sample = batches.sample(rows[r]);
    const auto prompt = static_cast<std::int64_t>(sample.prompt.tokens.size());
    const auto response = static_cast<std::int64_t>(sample.response.size());
    ASSERT_EQ(text.packing.lengths()[r], prompt + kQueries + response);
    for (std::int64_t i = 0; i < response; ++i, ++at) {
      ASSERT_LT(at, text.targets.numel());
      const auto token = sample.response[static_cast<std::size_t>(i)];
      // The row with speech: prompt with `kQueries` vectors in it, then the response.
      EXPECT_EQ(text.learn_positions[at].item<std::int64_t>(), begin + prompt + kQueries + i - 1);
      EXPECT_EQ(text.targets[at].item<std::int64_t>(), token);
      EXPECT_EQ(text.tokens[words + prompt + i].item<std::int64_t>(), token);
    }
    words += prompt + response;
    begin += text.packing.lengths()[r];
  }
  EXPECT_EQ(at, text.targets.numel());
  EXPECT_EQ(words, text.tokens.numel());
  EXPECT_EQ(begin, text.packing.total());
}

TEST_F(BatchLoaderTest, ASharedPrefixIsInNoneOfTheRows) {
  options_.batch.share_prefix = false;
  const auto whole = loader().text({3, 0});
  EXPECT_EQ(loader().prefix().numel(), 0);
  options_.batch.share_prefix = true;
  const auto batches = loader();
  const auto text = batches.text({3, 0});
  const auto prefix = batches.prefix();
  ASSERT_EQ(prefix.numel(), whole.speech_at);
  EXPECT_TRUE(at::equal(prefix, whole.tokens.narrow(0, 0, prefix.numel())));
  EXPECT_EQ(text.speech_at, 0);
  for (std::size_t r = 0; r < 2; ++r) {
    EXPECT_EQ(text.packing.lengths()[r] + prefix.numel(), whole.packing.lengths()[r]);
  }
  const auto first = text.packing.lengths()[0] - kQueries;  // the first row's words
  EXPECT_TRUE(at::equal(text.tokens.narrow(0, 0, first), whole.tokens.narrow(0, prefix.numel(), first)));
  EXPECT_TRUE(at::equal(text.targets, whole.targets));
  EXPECT_EQ(text.learn_positions[0].item<std::int64_t>() + prefix.numel(),
            whole.learn_positions[0].item<std::int64_t>());
}

TEST_F(BatchLoaderTest, ResponseTokensOfAStepAreThoseOfItsRows) {
  const auto batches = loader();
  std::int64_t expected = 0;
  for (std::int64_t m = 0; m < 4; ++m) {
    expected += batches.text(batches.training_rows(1, m)).targets.numel();
  }
  EXPECT_EQ(batches.response_tokens(1), expected);
}

TEST_F(BatchLoaderTest, LongResponsesAreCutAtMaxTextTokens) {
  const auto prompt = static_cast<std::int64_t>(loader().sample(0).prompt.tokens.size());
  const auto whole = loader().sample(0).response;
  ASSERT_GT(whole.size(), 3u);
  options_.batch.max_text_tokens = prompt + 3;
  EXPECT_EQ(loader().sample(0).response,
            std::vector<models::TokenId>(whole.begin(), whole.begin() + 3));
  options_.batch.max_text_tokens = prompt - 1;
  EXPECT_EQ(loader().sample(0).response.size(), 1u) << "there is always something to learn";
}

TEST_F(BatchLoaderTest, FewerRowsThanABatchIsAnErrorWithBothNumbersAndTheKey) {
  options_.batch.global_size = 25;
  options_.batch.micro_size = 5;
  try {
    (void)loader();
    FAIL();
  } catch (const runtime::ConfigError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("24 rows"), std::string::npos) << what;
    EXPECT_NE(what.find("than batch.global_size (25)"), std::string::npos) << what;
  }
}

TEST_F(BatchLoaderTest, MissingAudioIsADataErrorNamingTheFile) {
  const auto folder = tests::fresh_folder("loader");
  {
    datagen::DatasetWriter writer(folder, 10);
    datagen::Row row;
    row.id = "0000000000000001";
    row.audio_filepath = (folder / "gone.wav").string();
    row.response = "A tone.";
    writer.append(row);
    writer.finish();
  }
  options_.dataset = folder.string();
  options_.batch = {.global_size = 1, .micro_size = 1};
  const models::LogMel log_mel(80, 100);
  try {
    (void)loader().audio({0}, log_mel);
    FAIL();
  } catch (const runtime::DataError& error) {
    EXPECT_NE(std::string(error.what()).find("gone.wav"), std::string::npos) << error.what();
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace desta::trainer
