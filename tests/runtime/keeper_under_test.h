// An actor that keeps references to shared objects, and what tests of these look at.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cluster_under_test.h"
#include "runtime/actor/node_core.h"

namespace desta::runtime::testing {

struct Shelf {
  std::map<std::string, ObjectRef<Buffer>> by_name;
  std::vector<ObjectRef<Buffer>> all;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(by_name, all);
  }
};

inline Buffer pattern(std::size_t bytes, int seed = 1) {
  std::vector<std::uint8_t> values(bytes);
  for (std::size_t i = 0; i < bytes; ++i) {
    values[i] = static_cast<std::uint8_t>(i * 31 + static_cast<std::size_t>(seed) * 7 + (i >> 8));
  }
  return Buffer::of(std::move(values));
}

inline bool same(const Buffer& left, const Buffer& right) {
  return std::ranges::equal(left.bytes(), right.bytes());
}

inline int sum_of(const Buffer& buffer) {
  int sum = 0;
  for (const std::byte byte : buffer.bytes()) {
    sum += static_cast<int>(byte);
  }
  return sum;
}

// Keeps references, reads what they refer to, and hands them on.
class Keeper {
 public:
  Keeper() = default;
  explicit Keeper(ObjectRef<Buffer> first) : kept_{std::move(first)} {}

  void keep(const ObjectRef<Buffer>& object) {
    if (object.id() != 0) {
      kept_.push_back(object);
    }
  }
  void keep_all(const Shelf& shelf) {
    kept_.insert(kept_.end(), shelf.all.begin(), shelf.all.end());
    for (const auto& [name, object] : shelf.by_name) {
      kept_.push_back(object);
    }
  }
  int sum(const ObjectRef<Buffer>& object) { return sum_of(*current_system().get(object)); }
  int sum_kept(int index) { return sum(kept_.at(static_cast<std::size_t>(index))); }
  ObjectRef<Buffer> last() const { return kept_.empty() ? ObjectRef<Buffer>() : kept_.back(); }
  ObjectRef<Buffer> make(int bytes, int seed) {
    return current_system().put(pattern(static_cast<std::size_t>(bytes), seed));
  }
  Shelf shelf() const {
    Shelf shelf{{}, kept_};
    if (!kept_.empty()) {
      shelf.by_name["last"] = kept_.back();
    }
    return shelf;
  }
  void forget_last() {
    if (!kept_.empty()) {
      kept_.pop_back();
    }
  }
  void forget() { kept_.clear(); }
  void hold(const ObjectRef<Buffer>& /*object*/) { gate.pass(); }
  void fail(const ObjectRef<Buffer>& object) { throw DataError("object {} is odd", object.id()); }
  Task<void> pass_on(ActorRef<Keeper> other) {
    const ObjectRef<Buffer> object = last();
    forget_last();
    co_await other.call<&Keeper::keep>(object);
  }
  // The same, without waiting.
  void hand_over(const ActorRef<Keeper>& other) {
    (void)other.call<&Keeper::keep>(last());
    forget_last();
  }

  static inline Gate gate;

 private:
  std::vector<ObjectRef<Buffer>> kept_;
};

inline void register_keeper() {
  actor_type<Keeper>("Keeper")
      .constructor<>()
      .method<&Keeper::keep>("keep")
      .method<&Keeper::keep_all>("keep_all")
      .method<&Keeper::sum>("sum")
      .method<&Keeper::sum_kept>("sum_kept")
      .method<&Keeper::last>("last")
      .method<&Keeper::make>("make")
      .method<&Keeper::shelf>("shelf")
      .method<&Keeper::forget_last>("forget_last")
      .method<&Keeper::forget>("forget")
      .method<&Keeper::hold>("hold")
      .method<&Keeper::fail>("fail")
      .method<&Keeper::pass_on>("pass_on")
      .method<&Keeper::hand_over>("hand_over");
}

inline ActorSystemOptions on_host(const std::string& host, std::uint64_t object_memory = 0) {
  ActorSystemOptions options;
  options.host = host;
  options.resources = {.cpu = 4, .gpu = 0, .memory = 1000};
  options.object_memory = object_memory;
  return options;
}

inline detail::ObjectCounts counts_of(ActorSystem& system) {
  return system.core().objects().counts();
}

// Nothing is left but the count of what came.
inline bool is_empty(ActorSystem& system) {
  detail::ObjectCounts counts = counts_of(system);
  counts.fetches = 0;
  return counts == detail::ObjectCounts{};
}

}  // namespace desta::runtime::testing
