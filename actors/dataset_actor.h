// The actor that owns a dataset being written: it alone appends rows and publishes shards.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/row_wire.h"
#include "datagen/filtered_writer.h"

namespace desta::actors {

// What has become of a row that was asked for.
enum class RowFate : std::uint8_t { kUnknown, kWritten, kRejected };

class DatasetActor {
 public:
  // The folder is opened by the first call, which throws what datagen::FilteredWriter does.
  DatasetActor(std::string folder, std::uint64_t rows_per_shard)
      : folder_(std::move(folder)), rows_per_shard_(rows_per_shard) {}

  // What takes rows out from now on; without it nothing does.
  void set_filters(const datagen::FilterOptions& filters);
  // Which of these keys have been neither written nor rejected. Rejected ones are judged again.
  std::vector<std::string> missing(const std::vector<std::string>& keys);
  // The same of each of them, by key. Rows of the dataset that the filters do not let pass by now count as
  // rejected.
  std::vector<RowFate> fates(const std::vector<std::string>& keys);
  // Returns what has become of each.
  std::vector<RowFate> append(const std::vector<datagen::Row>& rows);
  // Publishes what is buffered. Returns the rows in the dataset.
  std::uint64_t finish();
  // What filters took out of all that was asked for.
  std::vector<datagen::FilterLoss> losses();

 private:
  datagen::FilteredWriter& writer();

  std::string folder_;
  std::uint64_t rows_per_shard_;
  std::optional<datagen::FilteredWriter> writer_;
};

void register_dataset_actor();

}  // namespace desta::actors
