#include "runtime/core/file_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "runtime/core/error.h"

namespace desta::runtime {
namespace fs = std::filesystem;

namespace {

constexpr std::chrono::milliseconds kPause{50};

// Locks of the open file (Linux's fcntl(2), "open file description locks"): inherited by children,
// seen by others without being taken, and passed on by NFS.
struct ::flock whole_file() {
  struct ::flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  return range;
}

}  // namespace

std::optional<FileLock> FileLock::try_take(const fs::path& path, Inherit inherit,
                                           std::chrono::milliseconds patience) {
  std::error_code ignored;  // the open below reports it
  fs::create_directories(path.parent_path(), ignored);
  const int flags = O_RDWR | O_CREAT | (inherit == Inherit::kNo ? O_CLOEXEC : 0);
  const int descriptor = ::open(path.c_str(), flags, 0666);
  if (descriptor < 0) {
    throw InternalError("{}: cannot open it: {}", path.string(), std::strerror(errno));
  }
  FileLock lock(descriptor);
  const auto limit = std::chrono::steady_clock::now() + patience;
  while (true) {
    struct ::flock range = whole_file();
    if (::fcntl(descriptor, F_OFD_SETLK, &range) == 0) {
      return lock;
    }
    if (errno != EAGAIN && errno != EACCES) {
      throw InternalError("{}: cannot lock it: {}; the file system must offer locks", path.string(),
                          std::strerror(errno));
    }
    if (std::chrono::steady_clock::now() >= limit) {
      return std::nullopt;
    }
    std::this_thread::sleep_for(kPause);
  }
}

bool FileLock::is_held(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) {
    return false;
  }
  struct ::flock range = whole_file();
  const bool free = ::fcntl(descriptor, F_OFD_GETLK, &range) == 0 && range.l_type == F_UNLCK;
  ::close(descriptor);
  return !free;
}

FileLock::FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

FileLock& FileLock::operator=(FileLock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

}  // namespace desta::runtime
