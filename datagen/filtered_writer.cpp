#include "datagen/filtered_writer.h"

#include <algorithm>

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

const Rejection kDuplicate{"duplicates", "the same words were answered about the recording before"};

// What a writer that was killed had not given its name yet (runtime/core/atomic_file.h).
void remove_leftovers(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if ((name.starts_with(".shard-") || name.starts_with(".rejected.jsonl.")) && name.ends_with(".tmp")) {
      fs::remove(entry.path(), ignored);
    }
  }
}

}  // namespace

FilteredWriter::FilteredWriter(const fs::path& folder, std::size_t rows_per_shard)
    : folder_(folder),
      rows_per_shard_(rows_per_shard),
      lock_(runtime::lock_folder(folder, kDatasetFolder)),
      writer_(folder, rows_per_shard) {
  if (lock_) {
    remove_leftovers(folder_);
  }
  const RejectedReport report = read_rejected(folder_);
  for (const std::string& problem : report.problems) {
    runtime::log().warn("{}", problem);
  }
  has_stale_ = !report.problems.empty();
  for (const RejectedRow& rejected : report.rows) {
    if (writer_.contains(rejected.row.id)) {
      has_stale_ = true;
    } else {
      remembered_.insert(key_of(rejected.row.id));
    }
  }
}

void FilteredWriter::set_filters(const FilterOptions& filters) {
  filters_ = filters;
  unfit_ = KeySet();
  if (filters.duplicates && writer_.size() > writer_.buffered()) {
    Dataset::open(folder_).for_each(
        [&](std::size_t, const Row& row) { responses_.insert(response_key(row)); });
  }
}

std::optional<Rejection> FilteredWriter::judge_row(const Row& row) const {
  auto rejection = judge(row, filters_);
  if (!rejection && filters_.duplicates && responses_.contains(response_key(row))) {
    rejection = kDuplicate;
  }
  return rejection;
}

void FilteredWriter::keep(const Row& row) {
  if (filters_.duplicates) {
    responses_.insert(response_key(row));
  }
  writer_.append(row);
  if (writer_.buffered() == 0) {
    publish_rejected();
  }
}

void FilteredWriter::count(const Row& row, const Rejection& rejection, bool is_kept) {
  FilterLoss& loss = losses_[rejection.filter];
  if (loss.rows++ == 0) {
    loss.filter = rejection.filter;
    loss.sample = fmt::format("{}: {}", rejection.reason, row.response);
  }
  loss.kept += is_kept ? 1 : 0;
}

std::vector<std::string> FilteredWriter::missing(const std::vector<std::string>& keys) {
  const std::unordered_set<std::string> wanted(keys.begin(), keys.end());
  judge_kept(wanted);
  judge_rejected(wanted);
  std::vector<std::string> absent;
  for (const std::string& key : keys) {
    if (!writer_.contains(key) && !remembered_.contains(key_of(key))) {
      absent.push_back(key);
    }
  }
  return absent;
}

void FilteredWriter::judge_kept(const std::unordered_set<std::string>& wanted) {
  if (filters_ == FilterOptions{} || writer_.size() == writer_.buffered()) {
    return;
  }
  KeySet passed;
  Dataset::open(folder_).for_each([&](std::size_t, const Row& row) {
    if (!wanted.contains(row.id)) {
      return;
    }
    auto rejection = judge(row, filters_);
    if (!rejection && filters_.duplicates && !passed.insert(response_key(row))) {
      rejection = kDuplicate;
    }
    if (rejection && unfit_.insert(key_of(row.id))) {
      count(row, *rejection, true);
    }
  });
}

void FilteredWriter::judge_rejected(const std::unordered_set<std::string>& wanted) {
  if (remembered_.size() == 0) {
    return;
  }
  for (RejectedRow& rejected : read_rejected(folder_).rows) {
    if (!wanted.contains(rejected.row.id) || writer_.contains(rejected.row.id)) {
      continue;
    }
    const auto rejection = judge_row(rejected.row);
    if (!rejection) {
      has_stale_ = true;
      keep(rejected.row);
      continue;
    }
    if (rejection != rejected.rejection) {
      judged_anew_[rejected.row.id] = *rejection;
      rejected.rejection = *rejection;
    }
    count(rejected.row, rejected.rejection);
  }
}

void FilteredWriter::append(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    if (writer_.contains(row.id) || remembered_.contains(key_of(row.id))) {
      continue;
    }
    if (auto rejection = judge_row(row)) {
      rejected_.push_back({row, std::move(*rejection)});
      remembered_.insert(key_of(row.id));
      count(row, rejected_.back().rejection);
    } else {
      keep(row);
    }
  }
  if (rejected_.size() >= rows_per_shard_) {
    writer_.finish();
    publish_rejected();
  }
}

void FilteredWriter::publish_rejected() {
  append_rejected(folder_, rejected_);
  rejected_.clear();
}

void FilteredWriter::finish() {
  writer_.finish();
  publish_rejected();
  if (has_stale_ || !judged_anew_.empty()) {
    clean_rejected();
  }
}

void FilteredWriter::clean_rejected() {
  std::vector<RejectedRow> rows = read_rejected(folder_).rows;
  std::erase_if(rows, [&](const RejectedRow& rejected) { return writer_.contains(rejected.row.id); });
  for (RejectedRow& rejected : rows) {
    if (const auto anew = judged_anew_.find(rejected.row.id); anew != judged_anew_.end()) {
      rejected.rejection = anew->second;
    }
  }
  replace_rejected(folder_, rows);
  has_stale_ = false;
  judged_anew_.clear();
}

std::vector<FilterLoss> FilteredWriter::losses() const {
  std::vector<FilterLoss> losses;
  for (const auto& [filter, loss] : losses_) {
    losses.push_back(loss);
  }
  std::stable_sort(losses.begin(), losses.end(),
                   [](const FilterLoss& a, const FilterLoss& b) { return a.rows > b.rows; });
  return losses;
}

}  // namespace desta::datagen
