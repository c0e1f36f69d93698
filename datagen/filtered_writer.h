// A dataset being written through filters: rows that pass go into shards, those that do not are remembered
// beside them (rejected_rows.h), and none of either is asked for again.
//
// Whatever kills the writer, the same rows end up in the same place: rows are published in the order in
// which they came, what was rejected after the rows before it, so that a duplicate is never on the disk
// without the row that it repeats.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "datagen/dataset.h"
#include "datagen/key_set.h"
#include "datagen/rejected_rows.h"
#include "datagen/row_filter.h"
#include "runtime/core/folder_lock.h"

namespace desta::datagen {

// What is written into a dataset's folder takes this lock.
inline constexpr runtime::LockedFolder kDatasetFolder{.what = "dataset", .key = "data.folder"};

// What a filter took out.
struct FilterLoss {
  std::string filter;
  std::uint64_t rows = 0;
  std::uint64_t kept = 0;  // of them: rows that are in the dataset, from a time of other filters
  std::string sample;      // one response, with the reason
  template <class Archive>
  void serialize(Archive& archive) {
    archive(filter, rows, kept, sample);
  }
};

class FilteredWriter {
 public:
  // Holds the folder against other writers (lock_folder()) and removes what a killed one has left half-written.
  // Throws what lock_folder() and DatasetWriter throw.
  FilteredWriter(const std::filesystem::path& folder, std::size_t rows_per_shard);

  // From now on. With `duplicates` the responses that are there are read first.
  void set_filters(const FilterOptions& filters);

  // Which of these keys have neither a row nor a rejected one. What is there and among `keys` is judged again:
  // what was rejected and passes by now becomes a row; a row that does not pass by now stays in the dataset, for
  // a time of other filters and for other configurations, but passes() is false for it.
  [[nodiscard]] std::vector<std::string> missing(const std::vector<std::string>& keys);

  // Takes the rows in or remembers them as rejected. Throws InternalError when the disk is full: what is
  // not on the disk stays in memory, and the next call tries again.
  void append(const std::vector<Row>& rows);
  // Publishes all.
  void finish();

  // Whether the row of this id has been taken in, and whether it is one that the filters let pass.
  [[nodiscard]] bool contains(const std::string& id) const { return writer_.contains(id); }
  [[nodiscard]] bool passes(const std::string& id) const {
    return writer_.contains(id) && !unfit_.contains(key_of(id));
  }
  [[nodiscard]] std::uint64_t size() const { return writer_.size(); }  // rows, without rejected ones
  // Of all keys that missing() was asked for and the rows since then, by filter, the most rows first.
  [[nodiscard]] std::vector<FilterLoss> losses() const;

 private:
  // Why it is not kept.
  [[nodiscard]] std::optional<Rejection> judge_row(const Row& row) const;
  void keep(const Row& row);
  void count(const Row& row, const Rejection& rejection, bool is_kept = false);
  void publish_rejected();
  void judge_rejected(const std::unordered_set<std::string>& wanted);
  void judge_kept(const std::unordered_set<std::string>& wanted);
  void clean_rejected();

  std::filesystem::path folder_;
  std::size_t rows_per_shard_;
  std::optional<runtime::FileLock> lock_;  // none where the file system has no locks
  DatasetWriter writer_;
  FilterOptions filters_;
  KeySet responses_;                   // of rows, where duplicates are looked for
  std::vector<RejectedRow> rejected_;  // not yet on the disk
  KeySet remembered_;                  // ids of those on the disk
  KeySet unfit_;                       // ids of rows in the dataset that the filters do not let pass
  std::unordered_map<std::string, Rejection> judged_anew_;  // of those on the disk, by id
  bool has_stale_ = false;                                  // rows are on the disk that are rows by now
  std::map<std::string, FilterLoss> losses_;
};

}  // namespace desta::datagen
