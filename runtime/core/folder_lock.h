// A folder into which one job at a time writes.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string_view>

#include "runtime/core/file_lock.h"

namespace desta::runtime {

// What a person is told of it.
struct LockedFolder {
  std::string_view what;  // "run folder"
  std::string_view key;   // the setting that names it: "run.folder"
};

// Takes the lock FOLDER/lock; the folder is made if need be. One that still has it, such as a job that is ending,
// has `patience` to let go. Throws ConfigError when it does not. Nothing, and a warning, where the file system has
// no locks.
[[nodiscard]] std::optional<FileLock> lock_folder(const std::filesystem::path& folder, const LockedFolder& names,
                                                  std::chrono::milliseconds patience = std::chrono::minutes(1));

}  // namespace desta::runtime
