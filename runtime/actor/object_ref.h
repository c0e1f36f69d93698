// A value that is put once and read from many nodes: read-only, in memory that the processes of a
// host share, and freed when nothing refers to it any more.
//
//   ObjectRef<Buffer> weights = system.put(buffer);
//   stage.call<&Stage::load>(weights);                               // passes the reference
//   std::shared_ptr<const Buffer> here = system.get(weights);        // no copy on the same host
//
// A reference is a small value: it can be copied, be an argument or a result, and lie inside of one
// or of another object. It may outlive its ActorSystem, but nothing can be got by it then.
#pragma once

#include <cstdint>
#include <utility>

#include "runtime/actor/object_handle.h"

namespace desta::runtime {

template <typename T>
class ObjectRef {
 public:
  using Value = T;

  // A reference to nothing: only to be assigned to.
  ObjectRef() = default;
  ObjectRef(detail::ObjectHold hold, std::uint64_t size) : hold_(std::move(hold)), size_(size) {}

  // Distinct for each put() of a job; 0 for a reference to nothing.
  [[nodiscard]] std::uint64_t id() const { return hold_.id(); }
  // Of the packed value, in bytes.
  [[nodiscard]] std::uint64_t size() const { return size_; }

  [[nodiscard]] bool operator==(const ObjectRef& other) const { return id() == other.id(); }

  template <class Archive>
  void serialize(Archive& archive) {
    archive(hold_, size_);
  }

 private:
  detail::ObjectHold hold_;
  std::uint64_t size_ = 0;
};

}  // namespace desta::runtime
