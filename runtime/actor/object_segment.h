// A large object's value in shared memory (core/shared_segment.h), mapped read-only by every
// process of the host that reads it. Private to this folder.
//
// Layout: the number of parts, the size of each (8 bytes each), then the parts (the packed bytes,
// then the buffers), each at a multiple of 64.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "runtime/actor/object_handle.h"
#include "runtime/core/shared_segment.h"

namespace desta::runtime::detail {

using SegmentAddress = SharedSegment::Address;

// Open for others as long as it lives; the mapping lives as long as a Buffer of it.
class ObjectSegment {
 public:
  // Copies the parts of `value`, and makes them point to the copy. Throws ObjectStoreFull when
  // there is no room in /dev/shm, InternalError for any other reason.
  [[nodiscard]] static std::unique_ptr<ObjectSegment> create(ObjectValue& value);

  [[nodiscard]] const SegmentAddress& address() const { return segment_.address(); }

 private:
  explicit ObjectSegment(SharedSegment segment) : segment_(std::move(segment)) {}
  const SharedSegment segment_;
};

// Maps another process's segment. Nothing when it cannot be seen from here: the process is gone, or
// lives in another container or under another user.
[[nodiscard]] std::optional<ObjectValue> open_segment(const SegmentAddress& address);

}  // namespace desta::runtime::detail
