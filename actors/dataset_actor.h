// The actor that owns a dataset being written: it alone appends rows and publishes shards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "actors/row_wire.h"

namespace desta::actors {

// What has become of a row that was asked for.
enum class RowFate : std::uint8_t { kUnknown, kWritten, kRejected };

class DatasetActor {
 public:
  DatasetActor(const std::string& folder, std::uint64_t rows_per_shard)
      : writer_(folder, rows_per_shard) {}

  // Which of these keys have no row yet.
  std::vector<std::string> missing(const std::vector<std::string>& keys);
  // The same of each of them, by key.
  std::vector<RowFate> fates(const std::vector<std::string>& keys);
  // Returns what has become of each.
  std::vector<RowFate> append(const std::vector<datagen::Row>& rows);
  // Publishes what is buffered. Returns the rows in the dataset.
  std::uint64_t finish();

 private:
  datagen::DatasetWriter writer_;
};

void register_dataset_actor();

}  // namespace desta::actors
