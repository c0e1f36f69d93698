#include "actors/row_supply.h"

#include <utility>

#include "datagen/instruction_corpus.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::actors {
namespace {

std::vector<std::string> ids_of(const std::vector<datagen::Row>& rows) {
  std::vector<std::string> ids;
  ids.reserve(rows.size());
  for (const auto& row : rows) {
    ids.push_back(row.id);
  }
  return ids;
}

}  // namespace

RowSupply::RowSupply(runtime::ActorRef<DatasetActor> dataset, std::filesystem::path folder,
                     std::vector<datagen::Row> planned, const datagen::StreamOptions& options,
                     const std::filesystem::path& record)
    : dataset_(std::move(dataset)),
      folder_(std::move(folder)),
      planned_(std::move(planned)),
      stream_(ids_of(planned_), options, record) {
  take_known();
}

void RowSupply::take_known() {
  const auto fates = dataset_.call<&DatasetActor::fates>(ids_of(planned_)).get();
  for (std::size_t row = 0; row < planned_.size(); ++row) {
    if (fates[row] == RowFate::kWritten) {
      stream_.accept(row);
    } else if (fates[row] == RowFate::kRejected) {
      stream_.reject(row);
    }
  }
}

trainer::StreamInfo RowSupply::info(std::int64_t epochs, std::int64_t steps) const {
  trainer::StreamInfo info;
  info.total_steps = steps > 0 ? steps : epochs * stream_.steps_per_epoch();
  for (const auto& row : planned_) {
    info.fingerprint = runtime::hash64(row.id, info.fingerprint);
  }
  return info;
}

std::vector<trainer::TextOrder> RowSupply::take(std::size_t most) {
  const std::lock_guard lock(mutex_);
  std::vector<trainer::TextOrder> orders;
  for (const auto number : stream_.take(most)) {
    const datagen::Row& row = planned_[number];
    orders.push_back({number, datagen::generator_prompt(row.seed_transcript, row.prompt),
                      datagen::sampling_seed(row)});
  }
  return orders;
}

void RowSupply::give_back(const std::vector<trainer::TextOrder>& orders) {
  const std::lock_guard lock(mutex_);
  std::vector<std::size_t> numbers;
  for (const auto& order : orders) {
    numbers.push_back(order.number);
  }
  stream_.give_back(numbers);
}

void RowSupply::accept(const std::vector<trainer::WrittenText>& texts) {
  const std::lock_guard lock(mutex_);
  std::vector<datagen::Row> rows;
  std::vector<std::size_t> numbers;
  std::string error;
  for (const auto& text : texts) {
    if (!text.error.empty()) {
      error = fmt::format("{}: {}", planned_[text.number].audio_filepath, text.error);
      continue;
    }
    rows.push_back(planned_[text.number]);
    rows.back().response = text.text;
    numbers.push_back(text.number);
  }
  if (!rows.empty()) {
    const auto fates = dataset_.call<&DatasetActor::append>(rows).get();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (fates[i] == RowFate::kRejected) {
        stream_.reject(numbers[i]);
      } else {
        responses_[numbers[i]] = std::move(rows[i].response);
        stream_.accept(numbers[i]);
      }
    }
  }
  if (!error.empty()) {
    throw runtime::ModelError("{}", error);
  }
}

void RowSupply::start_at(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  stream_.start_at(step);
}

bool RowSupply::has(std::int64_t step) const {
  const std::lock_guard lock(mutex_);
  return stream_.has(step);
}

std::size_t RowSupply::missing_for(std::int64_t step) const {
  const std::lock_guard lock(mutex_);
  return stream_.missing_for(step);
}

bool RowSupply::is_complete() const {
  const std::lock_guard lock(mutex_);
  return stream_.is_complete();
}

std::size_t RowSupply::written() const {
  const std::lock_guard lock(mutex_);
  return stream_.accepted();
}

datagen::Row RowSupply::row(std::size_t number) {
  datagen::Row row = planned_[number];
  if (const auto fresh = responses_.find(number); fresh != responses_.end()) {
    row.response = fresh->second;
    used_.push_back(number);
    return row;
  }
  if (!places_.contains(row.id)) {
    on_disk_ = datagen::Dataset::open(folder_);
    places_.clear();
    for (std::size_t place = 0; place < on_disk_->size(); ++place) {
      places_.emplace(on_disk_->id(place), place);
    }
  }
  return on_disk_->row(places_.at(row.id));
}

std::vector<datagen::Row> RowSupply::rows_of(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  std::vector<datagen::Row> rows;
  for (const auto number : stream_.rows_of(step)) {
    rows.push_back(row(number));
  }
  return rows;
}

void RowSupply::flush() {
  const std::lock_guard lock(mutex_);
  (void)dataset_.call<&DatasetActor::finish>().get();
  for (const auto number : used_) {
    responses_.erase(number);
  }
  used_.clear();
}

}  // namespace desta::actors
