#include "trainer/batch_loader.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "datagen/audio_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"
#include "runtime/core/random.h"

namespace desta::trainer {

namespace {

std::string describe_rejected(const std::string& dataset, std::size_t left,
                              const std::map<std::string, std::uint64_t>& rejected) {
  std::uint64_t rows = 0;
  std::string filters;
  for (const auto& [filter, count] : rejected) {
    rows += count;
    filters += fmt::format("{}{} {}", filters.empty() ? "" : ", ", filter, count);
  }
  return rows == 0 ? "" : fmt::format("{} of {} rows of {} do not pass today's filters and are not learned from ({})",
                                      rows, rows + left, dataset, filters);
}

}  // namespace

BatchLoader::BatchLoader(const std::filesystem::path& dataset, const models::Tokenizer& tokenizer,
                         const BatchOptions& options, std::int64_t queries, std::uint64_t seed,
                         const std::optional<datagen::RowSelection>& selection)
    : dataset_(datagen::Dataset::open(dataset)),
      tokenizer_(&tokenizer),
      format_(tokenizer),
      options_(options),
      queries_(queries),
      seed_(seed) {
  if (selection.has_value()) {
    datagen::SelectedRows selected = datagen::select_rows(*dataset_, *selection);
    rows_ = std::move(selected.rows);
    left_out_ = describe_rejected(dataset.string(), rows_.size(), selected.rejected);
  } else {
    rows_.resize(dataset_->size());
    std::iota(rows_.begin(), rows_.end(), 0);
  }
  if (static_cast<std::int64_t>(rows()) < options_.global_size) {
    const char* which = selection.has_value() && selection->every_row
                            ? "pass the filters"
                            : "this configuration would make (data.select: matching)";
    throw runtime::ConfigError(
        "{}: {} rows{} are fewer than batch.global_size ({}); make more data or a smaller batch",
        dataset.string(), rows(),
        selection.has_value() ? fmt::format(" of {} that {}", dataset_->size(), which) : "", options_.global_size);
  }
}

BatchLoader::BatchLoader(const RowFeed& feed, const models::Tokenizer& tokenizer,
                         const BatchOptions& options, std::int64_t queries)
    : feed_(&feed), tokenizer_(&tokenizer), format_(tokenizer), options_(options), queries_(queries) {}

datagen::Row BatchLoader::row(std::size_t index) const {
  return feed_ != nullptr ? feed_->row(index) : dataset_->row(rows_[index]);
}

std::uint64_t BatchLoader::fingerprint() const {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < rows(); ++i) {
    hash = runtime::hash64(dataset_->id(rows_[i]), hash);
  }
  return hash;
}

std::int64_t BatchLoader::steps_per_epoch() const {
  return static_cast<std::int64_t>(rows()) / options_.global_size;
}

std::vector<std::size_t> BatchLoader::step_rows(std::int64_t step) const {
  std::vector<std::size_t> rows(static_cast<std::size_t>(options_.global_size));
  if (feed_ != nullptr) {
    std::iota(rows.begin(), rows.end(), static_cast<std::size_t>(step * options_.global_size));
    return rows;
  }
  const std::int64_t epoch = step / steps_per_epoch();
  if (epoch != order_epoch_) {
    order_.resize(this->rows());
    std::iota(order_.begin(), order_.end(), 0);
    runtime::Random random(runtime::mix_seed(seed_, static_cast<std::uint64_t>(epoch)));
    random.shuffle(order_);
    order_epoch_ = epoch;
  }
  std::copy_n(order_.begin() + (step % steps_per_epoch()) * options_.global_size, rows.size(), rows.begin());
  return rows;
}

const RowDeal& BatchLoader::microbatches_of(std::int64_t step) const {
  const auto known = std::ranges::find(deals_, step, &std::pair<std::int64_t, RowDeal>::first);
  if (known != deals_.end()) {
    return known->second;
  }
  const auto rows = step_rows(step);
  const auto size = static_cast<std::size_t>(options_.micro_size);
  RowDeal deal;
  if (options_.cut == "tokens") {
    std::vector<std::int64_t> lengths;
    for (const auto row : rows) {
      const Sample& sample = this->sample(row);
      lengths.push_back(static_cast<std::int64_t>(sample.prompt.tokens.size() + sample.response.size()));
    }
    deal = deal_by_length(lengths, size);
  } else {
    deal = deal_in_order(rows.size(), size);
  }
  for (auto& part : deal) {
    std::ranges::transform(part, part.begin(), [&](std::size_t i) { return rows[i]; });
  }
  if (deals_.size() == 2) {
    deals_.pop_front();
  }
  return deals_.emplace_back(step, std::move(deal)).second;
}

std::vector<std::size_t> BatchLoader::training_rows(std::int64_t step, std::int64_t index) const {
  return microbatches_of(step)[static_cast<std::size_t>(index)];
}

std::int64_t BatchLoader::ordered_microbatches() const {
  return (static_cast<std::int64_t>(rows()) + options_.micro_size - 1) / options_.micro_size;
}

std::vector<std::size_t> BatchLoader::ordered_rows(std::int64_t index) const {
  const auto begin = static_cast<std::size_t>(index * options_.micro_size);
  const auto end =
      std::min(this->rows(), begin + static_cast<std::size_t>(options_.micro_size));
  std::vector<std::size_t> rows(end - begin);
  std::iota(rows.begin(), rows.end(), begin);
  return rows;
}

const Sample& BatchLoader::sample(std::size_t index) const {
  for (const auto* samples : {&samples_, &older_samples_}) {
    const auto known = samples->find(index);
    if (known != samples->end()) {
      return known->second;
    }
  }
  if (samples_.size() >= static_cast<std::size_t>(options_.global_size)) {
    older_samples_ = std::exchange(samples_, {});
  }
  return samples_.emplace(index, read_sample(index)).first->second;
}

Sample BatchLoader::read_sample(std::size_t index) const {
  const datagen::Row row = this->row(index);
  Sample sample;
  sample.audio_filepath = row.audio_filepath;
  sample.prompt = models::speech_prompt(format_, *tokenizer_, "", row.transcription, row.prompt);
  sample.response = tokenizer_->encode_plain(row.response);
  sample.response.push_back(format_.end_of_turn());
  const auto room =
      std::max<std::int64_t>(1, options_.max_text_tokens -
                                    static_cast<std::int64_t>(sample.prompt.tokens.size()));
  if (static_cast<std::int64_t>(sample.response.size()) > room) {
    sample.response.resize(static_cast<std::size_t>(room));
  }
  return sample;
}

TextBatch BatchLoader::text(const std::vector<std::size_t>& rows) const {
  TextBatch batch;
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> targets;
  std::int64_t begin = 0;
  for (const auto row : rows) {
    const Sample& sample = this->sample(row);
    const auto shared = options_.share_prefix ? sample.prompt.speech_at : 0;
    batch.speech_at = sample.prompt.speech_at - shared;
    tokens.insert(tokens.end(), sample.prompt.tokens.begin() + shared, sample.prompt.tokens.end());
    auto t = static_cast<std::int64_t>(sample.prompt.tokens.size()) - shared + queries_;
    for (const auto token : sample.response) {
      positions.push_back(begin + t++ - 1);
      targets.push_back(token);
      tokens.push_back(token);
    }
    lengths.push_back(t);
    begin += t;
  }
  batch.packing = models::Packing(std::move(lengths));
  batch.tokens = at::tensor(tokens, at::kLong);
  batch.learn_positions = at::tensor(positions, at::kLong);
  batch.targets = at::tensor(targets, at::kLong);
  return batch;
}

at::Tensor BatchLoader::prefix() const {
  const auto prompt = models::speech_prompt(format_, *tokenizer_, "", "", "");
  const std::vector<std::int64_t> tokens(prompt.tokens.begin(),
                                         prompt.tokens.begin() + prompt.speech_at);
  return at::tensor(options_.share_prefix ? tokens : std::vector<std::int64_t>(), at::kLong);
}

at::Tensor BatchLoader::audio(const std::vector<std::size_t>& rows,
                              const models::LogMel& log_mel) const {
  std::vector<at::Tensor> mels;
  const double seconds = 0.01 * static_cast<double>(log_mel.frames());
  for (const auto row : rows) {
    const auto wave = datagen::read_audio(audio_path(row), seconds);
    mels.push_back(log_mel(wave.samples));
  }
  return at::stack(mels);
}

std::int64_t BatchLoader::response_tokens(std::int64_t step) const {
  std::int64_t total = 0;
  for (std::int64_t m = 0; m < microbatches(); ++m) {
    for (const auto row : training_rows(step, m)) {
      total += static_cast<std::int64_t>(sample(row).response.size());
    }
  }
  return total;
}

}  // namespace desta::trainer
