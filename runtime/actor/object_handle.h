// What one node knows of one shared object, wherever that lies: shared by all references to it on
// the node. Private to this folder.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/core/wire.h"

namespace desta::runtime::detail {

class ObjectStore;

// The node that put it, and a number of its own there, as in an ActorId.
using ObjectId = std::uint64_t;

// While it lives, its node holds the object.
class ObjectHandle {
 public:
  ObjectHandle(std::shared_ptr<ObjectStore> store, ObjectId id)
      : id(id), store_(std::move(store)) {}
  ~ObjectHandle();
  ObjectHandle(const ObjectHandle&) = delete;
  ObjectHandle& operator=(const ObjectHandle&) = delete;

  const ObjectId id;

 private:
  const std::shared_ptr<ObjectStore> store_;
};

// A counted reference that knows nothing of the value's type. On its way to another node its
// message carries the id, so that both nodes can count it.
class ObjectHold {
 public:
  ObjectHold() = default;
  explicit ObjectHold(std::shared_ptr<ObjectHandle> handle) : handle_(std::move(handle)) {}

  // 0: of no object.
  [[nodiscard]] ObjectId id() const { return handle_ == nullptr ? 0 : handle_->id; }

  void save(WireWriter& archive) const;
  void load(WireReader& archive);

 private:
  std::shared_ptr<ObjectHandle> handle_;
};

// A packed value. The buffers of a large one lie in a segment, and so do its bytes.
struct ObjectValue {
  Buffer bytes;
  std::vector<Buffer> buffers;
  std::vector<ObjectHold> inner;  // objects that it refers to: they live as long as it does

  [[nodiscard]] std::uint64_t size() const;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(bytes, buffers, inner);
  }
};

}  // namespace desta::runtime::detail
