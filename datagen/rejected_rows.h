// Rows that a filter took out, kept beside a dataset's shards in rejected.jsonl: so that no run writes them
// again, and a run with other filters judges them again. One JSON object a line: the fields of Row, and
// filter and reason.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "datagen/dataset.h"
#include "datagen/row_filter.h"

namespace desta::datagen {

struct RejectedRow {
  Row row;
  Rejection rejection;
  friend bool operator==(const RejectedRow&, const RejectedRow&) = default;
};

[[nodiscard]] std::filesystem::path rejected_file(const std::filesystem::path& folder);

struct RejectedReport {
  std::vector<RejectedRow> rows;      // of one id the last line's
  std::vector<std::string> problems;  // "file:line: what is wrong"; half a line at the end is none
};

// Reads what can be read; nothing where there is no such file. Throws DataError when it cannot be read.
[[nodiscard]] RejectedReport read_rejected(const std::filesystem::path& folder);

// Adds rows behind those that are there, and syncs them to the disk. Half a line at the end, which a kill
// or a full disk has left, is cut off first. Rows whose text JSON cannot hold (not UTF-8) are left out:
// they are written by the model again. Throws InternalError naming the file when the disk is full; nothing is added then.
void append_rejected(const std::filesystem::path& folder, const std::vector<RejectedRow>& rows);

// Puts these rows in the place of what is there, or removes the file when there are none. The file is
// whole or as it was. Throws as append_rejected() does.
void replace_rejected(const std::filesystem::path& folder, const std::vector<RejectedRow>& rows);

}  // namespace desta::datagen
