// Where features are kept: a folder on disk, or one in the host's memory that its processes share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/core/file_lock.h"

namespace desta::trainer {

class FeatureFolder {
 public:
  // A folder that stays. `most_bytes`: what all processes together may keep there; 0: no limit.
  [[nodiscard]] static FeatureFolder on_disk(std::filesystem::path folder, std::uint64_t most_bytes);
  // One in memory (below `memory`, a tmpfs) for all processes of this user on this host that name the same
  // `key`. It goes when the last of them has gone; what a process that was killed has left is removed when
  // the next one of any key begins. `most_bytes` 0: half of what is free there now.
  // Throws ConfigError when there is no such place.
  [[nodiscard]] static FeatureFolder in_memory(std::string_view key, std::uint64_t most_bytes,
                                               const std::filesystem::path& memory = "/dev/shm");

  FeatureFolder(FeatureFolder&& other) noexcept
      : path_(std::move(other.path_)),
        most_bytes_(other.most_bytes_),
        gate_(std::move(other.gate_)),
        member_(std::exchange(other.member_, std::nullopt)) {}
  FeatureFolder& operator=(FeatureFolder&&) = delete;
  ~FeatureFolder();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // Takes so many bytes of the limit for the process; false when they are not left. Never given back: a
  // pass over a dataset comes back to what it saw first, so what is there stays.
  [[nodiscard]] bool reserve(std::uint64_t bytes) const;

 private:
  FeatureFolder(std::filesystem::path path, std::uint64_t most_bytes)
      : path_(std::move(path)), most_bytes_(most_bytes) {}

  std::filesystem::path path_;
  std::uint64_t most_bytes_;
  std::filesystem::path gate_;              // in memory: the lock of all such folders of the user
  std::optional<runtime::FileLock> member_; // in memory: held while this process uses it
};

}  // namespace desta::trainer
