// A large object's value in POSIX shared memory, mapped read-only by every process of the host that
// reads it. Private to this folder.
//
// Nothing is left behind by a process that is killed: a segment's name is removed as soon as it is
// made, and others open it as /proc/<process>/fd/<number>, which Linux allows to processes of the
// same user. The kernel frees the pages with the last mapping. Layout: the number of parts, the
// size of each (8 bytes each), then the parts (the packed bytes, then the buffers), each at a
// multiple of 64.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "runtime/actor/object_handle.h"

namespace desta::runtime::detail {

// Where another process of the host finds a segment; the file's own numbers tell it from one that
// came into its place.
struct SegmentAddress {
  std::int64_t process = 0;
  int descriptor = -1;
  std::uint64_t device = 0;
  std::uint64_t file = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(process, descriptor, device, file);
  }
};

// Open for others as long as it lives; the mapping lives as long as a Buffer of it.
class ObjectSegment {
 public:
  // Copies the parts of `value`, and makes them point to the copy. Throws ObjectStoreFull when
  // there is no room in /dev/shm, InternalError for any other reason.
  [[nodiscard]] static std::unique_ptr<ObjectSegment> create(ObjectValue& value);
  ~ObjectSegment();
  ObjectSegment(const ObjectSegment&) = delete;
  ObjectSegment& operator=(const ObjectSegment&) = delete;

  [[nodiscard]] const SegmentAddress& address() const { return address_; }

 private:
  explicit ObjectSegment(SegmentAddress address) : address_(address) {}
  const SegmentAddress address_;
};

// Maps another process's segment. Nothing when it cannot be seen from here: the process is gone, or
// lives in another container or under another user.
[[nodiscard]] std::optional<ObjectValue> open_segment(const SegmentAddress& address);

}  // namespace desta::runtime::detail
