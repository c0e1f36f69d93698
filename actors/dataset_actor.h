// The actor that owns a dataset being written: it alone appends rows and publishes shards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datagen/dataset.h"

namespace desta::datagen {

// How rows travel between actors.
template <class Archive>
void serialize(Archive& archive, Row& row) {
  archive(row.id, row.audio_filepath, row.transcription, row.seed_transcript, row.prompt,
          row.response, row.metadata_json, row.generator, row.decoding, row.seed, row.duration);
}

}  // namespace desta::datagen

namespace desta::actors {

class DatasetActor {
 public:
  DatasetActor(const std::string& folder, std::uint64_t rows_per_shard)
      : writer_(folder, rows_per_shard) {}

  // Which of these keys have no row yet.
  std::vector<std::string> missing(const std::vector<std::string>& keys);
  void append(const std::vector<datagen::Row>& rows);
  // Publishes what is buffered. Returns the rows in the dataset.
  std::uint64_t finish();

 private:
  datagen::DatasetWriter writer_;
};

void register_dataset_actor();

}  // namespace desta::actors
