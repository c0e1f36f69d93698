#include "runtime/core/shared_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace desta::runtime {
namespace {

// Each segment keeps a descriptor open, and a process may often have only 1024 at first.
bool allow_more_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) {
    return false;
  }
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

// The whole file, mapped. Null when it cannot be.
std::shared_ptr<std::byte> map(int file, std::size_t size, int protection) {
  void* memory = mmap(nullptr, size, protection, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    return nullptr;
  }
  return {static_cast<std::byte*>(memory), [size](std::byte* start) { munmap(start, size); }};
}

}  // namespace

SharedSegment::Descriptor& SharedSegment::Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    number_ = std::exchange(other.number_, -1);
  }
  return *this;
}

void SharedSegment::Descriptor::reset() {
  if (number_ >= 0) {
    ::close(number_);
    number_ = -1;
  }
}

// A new file in /dev/shm that has no name any more.
SharedSegment::Descriptor SharedSegment::make_file() {
  static std::atomic<std::uint64_t> next = 0;
  while (true) {
    const std::string name = fmt::format("/desta-{}-{}", getpid(), next++);
    const int file = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file >= 0) {
      shm_unlink(name.c_str());
      return Descriptor(file);
    }
    // EEXIST: a process of this number in another container.
    if (errno != EEXIST && !(errno == EMFILE && allow_more_descriptors())) {
      throw InternalError("/dev/shm{}: cannot make it: {}", name, std::strerror(errno));
    }
  }
}

SharedSegment SharedSegment::create(std::size_t bytes) {
  Descriptor file = make_file();
  const int failure = posix_fallocate(file.get(), 0, static_cast<off_t>(bytes));
  if (failure == ENOSPC) {
    throw SharedMemoryFull("/dev/shm has no room for {} bytes: free some, or mount it larger",
                           bytes);
  }
  if (failure != 0) {
    throw InternalError("/dev/shm: cannot take {} bytes: {}", bytes, std::strerror(failure));
  }
  auto memory = map(file.get(), bytes, PROT_READ | PROT_WRITE);
  struct stat status {};
  if (memory == nullptr || fstat(file.get(), &status) != 0) {
    throw InternalError("/dev/shm: cannot map {} bytes: {}", bytes, std::strerror(errno));
  }
  const Address address{getpid(), file.get(), static_cast<std::uint64_t>(status.st_dev),
                        static_cast<std::uint64_t>(status.st_ino)};
  return {std::move(file), std::move(memory), bytes, address};
}

std::optional<SharedSegment> SharedSegment::open(const Address& address, Access access) {
  const bool write = access == Access::kWrite;
  const std::string path = fmt::format("/proc/{}/fd/{}", address.process, address.descriptor);
  const int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
  int opened = ::open(path.c_str(), flags);
  if (opened < 0 && errno == EMFILE && allow_more_descriptors()) {
    opened = ::open(path.c_str(), flags);
  }
  const Descriptor file(opened);
  struct stat status {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0 ||
      static_cast<std::uint64_t>(status.st_dev) != address.device ||
      static_cast<std::uint64_t>(status.st_ino) != address.file) {
    return std::nullopt;
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  auto memory = map(file.get(), size, write ? PROT_READ | PROT_WRITE : PROT_READ);
  if (memory == nullptr) {
    return std::nullopt;
  }
  return SharedSegment(Descriptor(), std::move(memory), size, address);
}

void SharedSegment::make_read_only() {
  if (mprotect(memory_.get(), size_, PROT_READ) != 0 || fchmod(file_.get(), 0400) != 0) {
    throw InternalError("/dev/shm: cannot make {} bytes read-only: {}", size_,
                        std::strerror(errno));
  }
}

void SharedSegment::close() { file_.reset(); }

}  // namespace desta::runtime
