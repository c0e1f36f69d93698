// An exclusive lock on a file, for as long as this object or a process that inherited it lives: a
// process that dies, however, lets go of it.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>

namespace desta::runtime {

class FileLock {
 public:
  enum class Inherit { kNo, kByChildren };

  // Makes the file if need be. Nothing when somebody else still holds it after `patience`. With
  // kByChildren the descriptor stays open across exec. Throws InternalError when the file cannot be
  // made or its file system has no locks.
  [[nodiscard]] static std::optional<FileLock> try_take(
      const std::filesystem::path& path, Inherit inherit = Inherit::kNo,
      std::chrono::milliseconds patience = std::chrono::milliseconds(0));
  // Looks without touching it.
  [[nodiscard]] static bool is_held(const std::filesystem::path& path);

  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  ~FileLock();

 private:
  explicit FileLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

}  // namespace desta::runtime
