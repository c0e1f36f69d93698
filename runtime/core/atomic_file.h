// Files and folders that are either whole or absent: written beside their final name, synced to
// disk, then renamed. A reader never sees half of one, whatever kills the writer.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

namespace desta::runtime {

// Writes `contents` to `path`. Throws InternalError naming the file when the disk is full or the
// folder cannot be written; `path` then still holds what it held before.
void write_file_atomically(const std::filesystem::path& path, std::string_view contents);

// Calls `write(temporary)` and renames what it made (a file or a folder) to `path` after syncing
// it. The temporary name lies beside `path` and is removed when `write` throws. A folder at `path`
// is replaced.
void publish_atomically(const std::filesystem::path& path,
                        const std::function<void(const std::filesystem::path&)>& write);

// The whole of a file. Throws DataError when it cannot be read.
[[nodiscard]] std::string read_file(const std::filesystem::path& path);

}  // namespace desta::runtime
