// A generated dataset: a folder of HDF5 shards whose rows hold a recording's words, its seed
// transcript, a question and the answer that a language model gave. README.md documents the layout.
//
// HDF5 is not safe for threads; every function here takes one process-wide lock.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datagen/key_set.h"

namespace desta::datagen {

struct Row {
  std::string id;  // row_key() of the rest: one row is written once
  std::string audio_filepath;
  std::string transcription;
  std::string seed_transcript;
  std::string prompt;
  std::string response;
  std::string metadata_json;  // metadata_to_json(), or {} where nothing is known
  std::string generator;      // the model that wrote the response
  std::string decoding;       // how it was sampled, as in row_key(); empty where that was not kept
  std::string group = {};     // the recipe's group of the prompt; empty where there was none
  std::uint64_t seed = 0;     // of the response's sampling
  double duration = 0;        // s

  friend bool operator==(const Row&, const Row&) = default;
};

// Sixteen hexadecimal digits that name what a response answers: the same request has the same key
// in every run, so a run that was cut short knows what is done. `decoding` describes the sampling
// settings ("temperature=0.7 top_p=0.9").
[[nodiscard]] std::string row_key(std::string_view audio, std::string_view seed_transcript,
                                  std::string_view prompt, std::string_view generator,
                                  std::uint64_t seed, std::string_view decoding);

// What an id is known by in memory: the number that its sixteen lower-case hexadecimal digits are; of
// an id of another form, the XXH3.
[[nodiscard]] std::uint64_t key_of(std::string_view id);

// The seed that the response of `row` is sampled with: the words depend on the row alone, not on its
// batch.
[[nodiscard]] std::uint64_t sampling_seed(const Row& row);

// Adds rows to a dataset folder, which is made if need be. Existing shards stay as they are and
// numbering goes on behind them.
class DatasetWriter {
 public:
  // Reads the keys of the rows that are there. Throws ConfigError when `rows_per_shard` is 0, DataError
  // for a shard that is cut short, damaged in its keys or none of ours.
  explicit DatasetWriter(std::filesystem::path folder, std::size_t rows_per_shard = 1000);
  // Does not write: rows since the last full shard are lost unless finish() was called.
  ~DatasetWriter() = default;

  // Buffers the row and writes a shard when `rows_per_shard` have come together. A row whose id
  // is in the dataset already is dropped; false then. Throws InternalError when the disk is full:
  // the rows stay buffered, and the next append or finish tries again.
  bool append(Row row);
  // Writes what is buffered, as a shard that may be short.
  void finish();

  [[nodiscard]] bool contains(const std::string& id) const { return keys_.contains(key_of(id)); }
  [[nodiscard]] std::size_t size() const { return keys_.size(); }  // rows, buffered ones included
  [[nodiscard]] std::size_t buffered() const { return buffer_.size(); }  // rows in no shard yet

 private:
  void write_shard();

  std::filesystem::path folder_;
  std::size_t rows_per_shard_;
  std::size_t next_shard_ = 0;
  std::vector<Row> buffer_;
  KeySet keys_;
};

enum class DamagedShards {
  kRefuse,  // a damaged shard is a DataError that says which file to delete
  kSkip,    // its rows are left out and problems() names it
};

// Reads a dataset folder. Opening reads only the keys and keeps them, eight bytes a row; a row is read
// when asked for and compared with its own checksum. A few shards are kept open, so any order of access
// is fine.
class Dataset {
 public:
  // Throws DataError when the folder is missing or holds no shard, or for a shard that is cut short,
  // damaged in its keys, of another version or none of ours. Other damage is found when it is read.
  [[nodiscard]] static Dataset open(const std::filesystem::path& folder,
                                    DamagedShards damaged = DamagedShards::kRefuse);
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;
  ~Dataset();

  [[nodiscard]] std::size_t size() const;
  // Row `index` in the order of shards and of rows within them. Throws DataError naming shard and
  // row when it does not match its checksum, InternalError when index >= size().
  [[nodiscard]] Row row(std::size_t index) const;
  // Every row with its index, in order: some ten times as fast as row by row. Throws as row() does.
  void for_each(const std::function<void(std::size_t, const Row&)>& visit) const;
  [[nodiscard]] std::string id(std::size_t index) const;
  // The row of this id. Looks at every key.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view id) const;
  [[nodiscard]] bool contains(std::string_view id) const { return find(id).has_value(); }
  // What was skipped and why, one line each.
  [[nodiscard]] const std::vector<std::string>& problems() const;

 private:
  struct Shards;
  Dataset();
  std::unique_ptr<Shards> shards_;
};

// The shards of a folder in order: shard-000000.h5, shard-000001.h5, ...
[[nodiscard]] std::vector<std::filesystem::path> list_shards(const std::filesystem::path& folder);
// The same, and a DataError when there is no such folder or not one shard in it.
[[nodiscard]] std::vector<std::filesystem::path> require_shards(
    const std::filesystem::path& folder);

struct ImportReport {
  std::size_t rows = 0;               // appended
  std::vector<std::string> problems;  // "file:line: what is wrong"
};

// Appends every line of a published JSON Lines file that has an answer (see read_manifest for the
// layouts; DeSTA2's target, DeSTA2.5's response). `generator` is written into the rows. The caller
// calls finish(). Throws DataError when the file is missing or has no good line.
ImportReport import_jsonl(const std::filesystem::path& path, const std::string& generator,
                          DatasetWriter& writer);

}  // namespace desta::datagen
