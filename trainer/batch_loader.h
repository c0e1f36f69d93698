// Which samples make a step, and what a stage needs of them. The choice depends on seed, epoch and
// step alone, never on who asks or how many ranks there are, so every rank makes its own part and
// nothing of it has to be sent.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "datagen/dataset.h"
#include "datagen/row_selection.h"
#include "models/chat_format.h"
#include "models/log_mel.h"
#include "models/packing.h"
#include "models/tokenizer.h"
#include "trainer/options.h"
#include "trainer/row_deal.h"
#include "trainer/row_feed.h"

namespace desta::trainer {

// A row in tokens: the prompt with its gap for speech, and the response with its end token.
struct Sample {
  std::string audio_filepath;
  models::SpeechPrompt prompt;
  std::vector<models::TokenId> response;
};

// Text of a microbatch, packed: row behind row, nothing padded. In the LLM each row has its speech
// vectors behind its first `speech_at` tokens. Where the prompts' beginning is shared, it is in none of
// the rows: they begin with the speech.
struct TextBatch {
  at::Tensor tokens;             // [n] int64, without the speech
  std::int64_t speech_at = 0;
  models::Packing packing;       // of the rows with their speech
  at::Tensor learn_positions;    // [n] int64: packed positions whose next token is learned
  at::Tensor targets;            // [n] int64
};

class BatchLoader {
 public:
  // `queries`: speech vectors a sample. Throws ConfigError when the dataset has fewer rows than one
  // global batch, DataError for a damaged dataset.
  // With a `selection`, the rows that it selects are the dataset.
  BatchLoader(const std::filesystem::path& dataset, const models::Tokenizer& tokenizer,
              const BatchOptions& options, std::int64_t queries, std::uint64_t seed,
              const std::optional<datagen::RowSelection>& selection = std::nullopt);
  // Over rows that are fed step by step. It has training_rows() of steps that were fed, and what is asked of
  // rows by their numbers; nothing that counts rows. `feed` must live as long as this.
  BatchLoader(const RowFeed& feed, const models::Tokenizer& tokenizer, const BatchOptions& options,
              std::int64_t queries);

  [[nodiscard]] std::size_t rows() const { return rows_.size(); }
  // "12 of 1000 rows of FOLDER do not pass ...": rows of the selection that its filters leave out; else empty.
  [[nodiscard]] const std::string& left_out() const { return left_out_; }
  // Hash of the rows' ids in their order: another number means other data.
  [[nodiscard]] std::uint64_t fingerprint() const;
  [[nodiscard]] std::int64_t steps_per_epoch() const;
  [[nodiscard]] std::int64_t microbatches() const {
    return options_.global_size / options_.micro_size;
  }

  // Rows of microbatch `index` (0-based, over all replicas) of step `step`, in training order. Which rows a step
  // has does not depend on batch.cut; which of its microbatches has them does. A cut by tokens counts those of
  // prompts and responses alone: the speech, and a shared prefix, are the same number in each microbatch.
  [[nodiscard]] std::vector<std::size_t> training_rows(std::int64_t step, std::int64_t index) const;
  // The same for a pass over the dataset in its own order; the last microbatch may be short.
  [[nodiscard]] std::vector<std::size_t> ordered_rows(std::int64_t index) const;
  [[nodiscard]] std::int64_t ordered_microbatches() const;

  // The row in tokens; valid until the next call. Of the last global batch all and of the one before it some stay
  // in memory: a step asks for its rows twice, for their number of tokens and for their text, and for the next
  // step's in between.
  [[nodiscard]] const Sample& sample(std::size_t row) const;
  [[nodiscard]] TextBatch text(const std::vector<std::size_t>& rows) const;
  // Log-mel of the rows' audio: [batch, mel_bins, frames] float32.
  // Throws DataError naming the file.
  [[nodiscard]] at::Tensor audio(const std::vector<std::size_t>& rows,
                                 const models::LogMel& log_mel) const;
  [[nodiscard]] std::string audio_path(std::size_t row) const {
    return this->row(row).audio_filepath;
  }
  // What all prompts begin with, up to the speech: [n] int64. Empty if the rows have it themselves.
  [[nodiscard]] at::Tensor prefix() const;
  // Response tokens of all microbatches of a step: what the summed loss is divided by.
  [[nodiscard]] std::int64_t response_tokens(std::int64_t step) const;

 private:
  [[nodiscard]] datagen::Row row(std::size_t index) const;
  [[nodiscard]] Sample read_sample(std::size_t row) const;
  // A step's rows in training order, and as they are dealt out to its microbatches.
  [[nodiscard]] std::vector<std::size_t> step_rows(std::int64_t step) const;
  [[nodiscard]] const RowDeal& microbatches_of(std::int64_t step) const;

  std::optional<datagen::Dataset> dataset_;  // or
  const RowFeed* feed_ = nullptr;
  std::vector<std::size_t> rows_;  // of the dataset, by our numbers
  std::string left_out_;
  const models::Tokenizer* tokenizer_;
  models::ChatFormat format_;
  BatchOptions options_;
  std::int64_t queries_;
  std::uint64_t seed_ = 0;
  mutable std::int64_t order_epoch_ = -1;
  mutable std::vector<std::size_t> order_;
  mutable std::deque<std::pair<std::int64_t, RowDeal>> deals_;  // of the two steps asked for last
  mutable std::unordered_map<std::size_t, Sample> samples_;      // of one global batch at most
  mutable std::unordered_map<std::size_t, Sample> older_samples_;  // those before
};

}  // namespace desta::trainer
