#include "runtime/actor/object_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "runtime/actor/errors.h"

namespace desta::runtime::detail {
namespace {

constexpr std::uint64_t kAlignment = 64;
// More parts than any value has: what says so is no segment.
constexpr std::uint64_t kMostParts = 1 << 20;

std::uint64_t aligned(std::uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

std::uint64_t end_of(const std::vector<std::uint64_t>& sizes) {
  std::uint64_t end = (sizes.size() + 1) * sizeof(std::uint64_t);
  for (const std::uint64_t size : sizes) {
    end = aligned(end) + size;
  }
  return end;
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return number_; }
  [[nodiscard]] int release() { return std::exchange(number_, -1); }

 private:
  int number_;
};

// Each segment keeps a descriptor open, and a process may often have only 1024 at first.
bool allow_more_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) {
    return false;
  }
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

// A new file in /dev/shm that has no name any more.
int make_file() {
  static std::atomic<std::uint64_t> next = 0;
  while (true) {
    const std::string name = fmt::format("/desta-{}-{}", getpid(), next++);
    const int file = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (file >= 0) {
      shm_unlink(name.c_str());
      return file;
    }
    // EEXIST: a process of this number in another container.
    if (errno != EEXIST && !(errno == EMFILE && allow_more_descriptors())) {
      throw InternalError("/dev/shm{}: cannot make it: {}", name, std::strerror(errno));
    }
  }
}

// The whole file, mapped. Null when it cannot be.
std::shared_ptr<std::byte> map(int file, std::uint64_t size, int protection) {
  void* memory = mmap(nullptr, size, protection, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    return nullptr;
  }
  return {static_cast<std::byte*>(memory), [size](std::byte* start) { munmap(start, size); }};
}

void write_sizes(std::byte* memory, const std::vector<std::uint64_t>& sizes) {
  const std::uint64_t count = sizes.size();
  std::memcpy(memory, &count, sizeof(count));
  std::memcpy(memory + sizeof(count), sizes.data(), sizes.size() * sizeof(count));
}

// The sizes that the segment begins with; none when it is not one.
std::vector<std::uint64_t> read_sizes(const std::byte* memory, std::uint64_t total) {
  std::uint64_t count = 0;
  if (total < sizeof(count)) {
    return {};
  }
  std::memcpy(&count, memory, sizeof(count));
  if (count == 0 || count > kMostParts || (count + 1) * sizeof(count) > total) {
    return {};
  }
  std::vector<std::uint64_t> sizes(count);
  std::memcpy(sizes.data(), memory + sizeof(count), count * sizeof(count));
  return end_of(sizes) == total ? sizes : std::vector<std::uint64_t>{};
}

// Points the parts of the value into the memory.
void point_into(ObjectValue& value, const std::shared_ptr<std::byte>& memory,
                const std::vector<std::uint64_t>& sizes) {
  std::uint64_t at = sizes.size() * sizeof(std::uint64_t) + sizeof(std::uint64_t);
  std::vector<Buffer> parts;
  parts.reserve(sizes.size());
  for (const std::uint64_t size : sizes) {
    at = aligned(at);
    parts.emplace_back(memory, std::span<const std::byte>(memory.get() + at, size));
    at += size;
  }
  value.bytes = std::move(parts.front());
  parts.erase(parts.begin());
  value.buffers = std::move(parts);
}

void copy(std::byte* memory, std::uint64_t& at, const Buffer& part) {
  at = aligned(at);
  if (!part.empty()) {
    std::memcpy(memory + at, part.data(), part.size());
  }
  at += part.size();
}

}  // namespace

std::unique_ptr<ObjectSegment> ObjectSegment::create(ObjectValue& value) {
  std::vector<std::uint64_t> sizes{value.bytes.size()};
  for (const Buffer& buffer : value.buffers) {
    sizes.push_back(buffer.size());
  }
  const std::uint64_t total = end_of(sizes);
  Descriptor file(make_file());
  // Without this a full /dev/shm would be a SIGBUS at the first touch of a page.
  const int failure = posix_fallocate(file.get(), 0, static_cast<off_t>(total));
  if (failure == ENOSPC) {
    throw ObjectStoreFull(fmt::format(
        "/dev/shm has no room for an object of {} bytes: free references, or mount it larger",
        total));
  }
  if (failure != 0) {
    throw InternalError("/dev/shm: cannot make an object of {} bytes: {}", total,
                        std::strerror(failure));
  }
  const auto memory = map(file.get(), total, PROT_READ | PROT_WRITE);
  struct stat status {};
  if (memory == nullptr || fstat(file.get(), &status) != 0) {
    throw InternalError("/dev/shm: cannot map an object of {} bytes: {}", total,
                        std::strerror(errno));
  }
  write_sizes(memory.get(), sizes);
  std::uint64_t at = (sizes.size() + 1) * sizeof(std::uint64_t);
  copy(memory.get(), at, value.bytes);
  for (const Buffer& buffer : value.buffers) {
    copy(memory.get(), at, buffer);
  }
  if (mprotect(memory.get(), total, PROT_READ) != 0 || fchmod(file.get(), 0400) != 0) {
    throw InternalError("/dev/shm: cannot make an object read-only: {}", std::strerror(errno));
  }
  point_into(value, memory, sizes);
  return std::unique_ptr<ObjectSegment>(
      new ObjectSegment({getpid(), file.release(), static_cast<std::uint64_t>(status.st_dev),
                         static_cast<std::uint64_t>(status.st_ino)}));
}

ObjectSegment::~ObjectSegment() { ::close(address_.descriptor); }

std::optional<ObjectValue> open_segment(const SegmentAddress& address) {
  const std::string path = fmt::format("/proc/{}/fd/{}", address.process, address.descriptor);
  int opened = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0 && errno == EMFILE && allow_more_descriptors()) {
    opened = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  }
  const Descriptor file(opened);
  struct stat status {};
  if (file.get() < 0 || fstat(file.get(), &status) != 0 ||
      static_cast<std::uint64_t>(status.st_dev) != address.device ||
      static_cast<std::uint64_t>(status.st_ino) != address.file) {
    return std::nullopt;
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const auto memory = map(file.get(), size, PROT_READ);
  if (memory == nullptr) {
    return std::nullopt;
  }
  const auto sizes = read_sizes(memory.get(), size);
  if (sizes.empty()) {
    return std::nullopt;
  }
  ObjectValue value;
  point_into(value, memory, sizes);
  return value;
}

}  // namespace desta::runtime::detail
