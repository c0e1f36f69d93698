// Is a dataset whole? Reads all of it and changes nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace desta::datagen {

struct DatasetCheck {
  std::uint64_t shards = 0;
  std::uint64_t rows = 0;        // that could be read
  std::uint64_t recomputed = 0;  // of their ids: the others' decoding settings were not kept
  std::uint64_t recordings = 0;  // looked for
  std::uint64_t problems = 0;
  std::vector<std::string> whole;  // shards without a problem in them, by name, in order
};

// Looks at every shard's format, version, columns and checksums, at every row's checksum and metadata,
// whether its id is the key of what it holds (where the decoding settings are known: rows of version 2, and
// imported ones) and its only one, at every line of rejected.jsonl, and, with `audio`, whether a row's
// recording is there and not empty. Each problem is given to `report` as one line that names file and row.
// Throws DataError for a folder that is no dataset.
[[nodiscard]] DatasetCheck check_dataset(const std::filesystem::path& folder, bool audio,
                                         const std::function<void(const std::string&)>& report);

// What is whole, in one line a run of shards: "shard-000000.h5 to shard-000004.h5".
[[nodiscard]] std::string check_text(const DatasetCheck& check);

}  // namespace desta::datagen
