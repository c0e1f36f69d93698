#include "runtime/actor/object_segment.h"

#include <cstring>
#include <span>
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
  auto segment = [total] {
    try {
      return SharedSegment::create(total);
    } catch (const SharedMemoryFull&) {
      throw ObjectStoreFull(fmt::format(
          "/dev/shm has no room for an object of {} bytes: free references, or mount it larger",
          total));
    }
  }();
  const std::shared_ptr<std::byte>& memory = segment.memory();
  write_sizes(memory.get(), sizes);
  std::uint64_t at = (sizes.size() + 1) * sizeof(std::uint64_t);
  copy(memory.get(), at, value.bytes);
  for (const Buffer& buffer : value.buffers) {
    copy(memory.get(), at, buffer);
  }
  segment.make_read_only();
  point_into(value, memory, sizes);
  return std::unique_ptr<ObjectSegment>(new ObjectSegment(std::move(segment)));
}

std::optional<ObjectValue> open_segment(const SegmentAddress& address) {
  const auto segment = SharedSegment::open(address, SharedSegment::Access::kRead);
  if (!segment.has_value()) {
    return std::nullopt;
  }
  const auto sizes = read_sizes(segment->memory().get(), segment->bytes().size());
  if (sizes.empty()) {
    return std::nullopt;
  }
  ObjectValue value;
  point_into(value, segment->memory(), sizes);
  return value;
}

}  // namespace desta::runtime::detail
