#include "runtime/core/folder_lock.h"

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::runtime {

std::optional<FileLock> lock_folder(const std::filesystem::path& folder, const LockedFolder& names,
                                    std::chrono::milliseconds patience) {
  const auto path = folder / "lock";
  std::optional<FileLock> lock;
  try {
    if (FileLock::is_held(path)) {
      log().info("another job holds {}; waiting for it to end", path.string());
    }
    lock = FileLock::try_take(path, FileLock::Inherit::kNo, patience);
  } catch (const Error& error) {
    log().warn("the {} is not locked: {}", names.what, error.what());
    return std::nullopt;
  }
  if (!lock.has_value()) {
    throw ConfigError("{}: another job is writing into this {}; wait for it, or choose another {}", path.string(),
                      names.what, names.key);
  }
  return lock;
}

}  // namespace desta::runtime
