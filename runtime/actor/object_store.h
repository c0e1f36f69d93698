// The shared objects of one node: the values that lie here, who holds them, and which objects of
// other nodes this one holds. Private to this folder.
//
// An object lives while some node holds it. A node holds it from its first reference to its last,
// and tells the owner, the node that put it. Such news would come too late for a reference on its
// way, so: a message that refers to objects keeps them held by its sender until its receiver has
// said that the owners know of it. For each pair of nodes notices keep their order, which is all
// that is needed:
//
//   sender                     receiver                    owner
//     |--- message(ids) --------->|                          |
//     |                           |--- hold(id) ------------>|
//     |                           |<-- it is here -----------|
//     |<-- received --------------|                          |
//     |--- release(id) ------------------------------------->|  if that was its last reference
//
// Copies that nodes keep for their host are no holders: the owner has them dropped when it frees.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "runtime/actor/messages.h"
#include "runtime/actor/object_handle.h"
#include "runtime/actor/object_segment.h"

namespace desta::runtime::detail {

// The node that put it. Its number there is number_of(id).
[[nodiscard]] inline int owner_of(ObjectId id) { return node_of(id); }

// Values up to this size stay in the memory of their owner and travel in messages (Ray's
// max_direct_call_object_size).
inline constexpr std::uint64_t kMostInline = std::uint64_t{100} << 10;

// A message that refers to objects, by who sent it: the request's number is the asker's.
struct MessageKey {
  int to = 0;
  std::uint64_t request = 0;
  bool reply = false;

  auto operator<=>(const MessageKey&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(to, request, reply);
  }
};

// What the store of one node tells that of another.
struct ObjectNotice {
  enum class Kind { kHold, kRelease, kReceived, kDrop };
  Kind kind = Kind::kHold;
  int to = 0;
  ObjectId object = 0;           // all but kReceived
  std::uint64_t generation = 0;  // kHold: for registered()
  std::uint64_t request = 0;     // kReceived
  bool reply = false;            // kReceived
};

// What is here now. All zero when nothing is left.
struct ObjectCounts {
  std::uint64_t objects = 0;     // known, their values here or not
  std::uint64_t segments = 0;    // made here: own large objects and copies kept for the host
  std::uint64_t bytes = 0;       // of the values that were put here or are kept for the host
  std::uint64_t in_transit = 0;  // messages whose receiver has not answered for their objects yet
  std::uint64_t fetches = 0;     // values that came in messages, ever

  bool operator==(const ObjectCounts&) const = default;
};

class ObjectStore : public std::enable_shared_from_this<ObjectStore> {
 public:
  using Send = std::function<void(const ObjectNotice&)>;
  // `limit`: for ObjectCounts::bytes.
  ObjectStore(int node, std::uint64_t limit, Send send);

  // The node goes: nothing is sent any more, and values are freed but for Buffers that are in use.
  void close();

  // Throws ObjectStoreFull, or InternalError after close().
  [[nodiscard]] ObjectHold put(ObjectValue value);
  // A reference to an object of any node. Id 0 gives one to nothing.
  [[nodiscard]] ObjectHold hold(ObjectId id);

  enum class State { kAbsent, kHere, kLost };
  [[nodiscard]] State state(ObjectId id) const;
  // Empty unless it is here.
  [[nodiscard]] std::optional<ObjectValue> value(ObjectId id) const;
  // As above, for another node; it will be told when the object is freed.
  [[nodiscard]] std::optional<ObjectValue> value_for(ObjectId id, int node);
  // Empty unless a segment of this process has it.
  [[nodiscard]] std::optional<SegmentAddress> segment(ObjectId id) const;
  // Keeps the value of another node's object for as long as this node holds it; `came`: in a
  // message.
  void add(ObjectId id, ObjectValue value, bool came);
  // Keeps it, in a segment, until its owner frees it. Throws ObjectStoreFull.
  void keep_for_host(ObjectId id, ObjectValue value);

  // A message that refers to objects is about to leave. They stay held until received().
  void sent(const MessageKey& message, const std::vector<ObjectId>& objects);
  void received(const MessageKey& message);
  // One has come: holds its objects, and has its sender told once their owners know.
  [[nodiscard]] std::vector<ObjectHold> receive(int from, std::uint64_t request, bool reply,
                                                const std::vector<ObjectId>& objects);

  // Notices from other nodes. add_holder() is false when the object is not here any more.
  [[nodiscard]] bool add_holder(ObjectId id, int node);
  void remove_holder(ObjectId id, int node);
  void drop(ObjectId id);
  // The answer to a kHold.
  void registered(ObjectId id, std::uint64_t generation, bool here);
  void node_lost(int node);

  [[nodiscard]] ObjectCounts counts() const;

 private:
  friend class ObjectHandle;
  // A message whose sender is to be told, when the owners of so many of its objects know.
  struct Receipt {
    ObjectNotice notice;
    int missing = 0;
  };
  struct Entry {
    std::weak_ptr<ObjectHandle> handle;
    int handles = 0;               // that live, the one above or one that is on its way out
    std::uint64_t generation = 0;  // of other nodes' objects: how often it came to be held
    bool asked = false;            // the owner has not answered to the hold yet
    bool lost = false;
    bool kept = false;  // for the host
    std::vector<std::shared_ptr<Receipt>> receipts;
    std::optional<ObjectValue> value;
    std::unique_ptr<ObjectSegment> segment;
    std::uint64_t bytes = 0;  // that are counted
    std::set<int> holders;    // of own objects: other nodes
    std::set<int> copies;     // where its value went
  };
  // What is let go of after the mutex: it may refer to further objects.
  struct Trash {
    std::vector<Entry> entries;
    std::vector<ObjectValue> values;
    std::vector<std::vector<ObjectHold>> holds;
  };

  void let_go(ObjectId id);
  // With the mutex held.
  [[nodiscard]] std::shared_ptr<ObjectHandle> handle(ObjectId id);
  void free_if_unused(ObjectId id, Trash& trash);
  void throw_out(std::unordered_map<ObjectId, Entry>::iterator entry, Trash& trash);
  void take_room(std::uint64_t bytes);
  void answer_receipts(Entry& entry);
  void give_back_room(std::uint64_t bytes);
  // Without it: sends what is to be sent, in order.
  void flush();

  const int node_;
  const std::uint64_t limit_;

  mutable std::mutex mutex_;
  Send send_;
  bool closed_ = false;
  std::uint64_t next_ = 1;
  std::uint64_t next_generation_ = 1;
  std::uint64_t bytes_ = 0;
  std::uint64_t fetches_ = 0;
  std::unordered_map<ObjectId, Entry> entries_;
  std::multimap<MessageKey, std::vector<ObjectHold>> in_transit_;
  std::set<int> lost_;
  std::deque<ObjectNotice> notices_;
  bool sending_ = false;
};

}  // namespace desta::runtime::detail
