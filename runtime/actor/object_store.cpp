#include "runtime/actor/object_store.h"

#include <utility>

#include "runtime/actor/actor_system.h"
#include "runtime/actor/errors.h"
#include "runtime/actor/node_core.h"

namespace desta::runtime::detail {

ObjectHandle::~ObjectHandle() { store_->let_go(id); }

void ObjectHold::save(WireWriter& archive) const {
  archive(id());
  if (id() != 0) {
    archive.note_object(id());
  }
}

void ObjectHold::load(WireReader& archive) {
  ObjectId id = 0;
  archive(id);
  if (id != 0 && archive.system() == nullptr) {
    throw InternalError("a reference to an object can only be read within an actor system");
  }
  *this = id == 0 ? ObjectHold() : archive.system()->core().objects().hold(id);
}

std::uint64_t ObjectValue::size() const {
  std::uint64_t total = bytes.size();
  for (const Buffer& buffer : buffers) {
    total += buffer.size();
  }
  return total;
}

ObjectStore::ObjectStore(int node, std::uint64_t limit, Send send)
    : node_(node), limit_(limit), send_(std::move(send)) {}

void ObjectStore::close() {
  std::unordered_map<ObjectId, Entry> entries;
  std::multimap<MessageKey, std::vector<ObjectHold>> in_transit;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  bytes_ = 0;
  notices_.clear();
  entries.swap(entries_);
  in_transit.swap(in_transit_);
}

ObjectHold ObjectStore::put(ObjectValue value) {
  const std::uint64_t size = value.size();
  take_room(size);
  Entry entry;
  entry.bytes = size;
  try {
    if (size > kMostInline) {
      entry.segment = ObjectSegment::create(value);
    }
  } catch (...) {
    give_back_room(size);
    throw;
  }
  entry.value = std::move(value);
  const std::lock_guard lock(mutex_);
  const ObjectId id = actor_id(node_, next_++);
  entries_.emplace(id, std::move(entry));
  return ObjectHold(handle(id));
}

void ObjectStore::take_room(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (closed_) {
    throw InternalError("node {}: the actor system has ended, and with it its objects", node_);
  }
  if (bytes > limit_ || bytes_ > limit_ - bytes) {
    throw ObjectStoreFull(fmt::format(
        "node {} has no room for an object of {} bytes: {} of {} are in use; free references or "
        "raise ActorSystemOptions::object_memory",
        node_, bytes, bytes_, limit_));
  }
  bytes_ += bytes;
}

void ObjectStore::give_back_room(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  bytes_ -= closed_ ? 0 : bytes;
}

std::shared_ptr<ObjectHandle> ObjectStore::handle(ObjectId id) {
  const auto [found, is_new] = entries_.try_emplace(id);
  Entry& entry = found->second;
  if (auto known = entry.handle.lock(); known != nullptr) {
    return known;
  }
  const int owner = owner_of(id);
  if (owner == node_) {
    entry.lost = is_new;
  } else if (closed_ || lost_.contains(owner)) {
    entry.lost = true;
  } else if (entry.handles == 0) {
    entry.generation = next_generation_++;
    entry.asked = true;
    notices_.push_back({ObjectNotice::Kind::kHold, owner, id, entry.generation, 0, false});
  }
  auto made = std::make_shared<ObjectHandle>(shared_from_this(), id);
  entry.handle = made;
  ++entry.handles;
  return made;
}

ObjectHold ObjectStore::hold(ObjectId id) {
  if (id == 0) {
    return {};
  }
  ObjectHold held;
  {
    const std::lock_guard lock(mutex_);
    held = ObjectHold(handle(id));
  }
  flush();
  return held;
}

void ObjectStore::let_go(ObjectId id) {
  Trash trash;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || --found->second.handles > 0) {
      return;
    }
    Entry& entry = found->second;
    if (owner_of(id) == node_) {
      free_if_unused(id, trash);
    } else {
      if (!closed_ && !entry.lost) {
        notices_.push_back({ObjectNotice::Kind::kRelease, owner_of(id), id, 0, 0, false});
      }
      entry.asked = false;
      answer_receipts(entry);  // what was promised is over: the owner hears of both in this order
      if (!entry.kept) {
        throw_out(found, trash);
      }
    }
  }
  flush();
}

void ObjectStore::free_if_unused(ObjectId id, Trash& trash) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.handles > 0 || !found->second.holders.empty()) {
    return;
  }
  for (const int node : found->second.copies) {
    notices_.push_back({ObjectNotice::Kind::kDrop, node, id, 0, 0, false});
  }
  throw_out(found, trash);
}

void ObjectStore::throw_out(std::unordered_map<ObjectId, Entry>::iterator entry, Trash& trash) {
  bytes_ -= entry->second.bytes;
  trash.entries.push_back(std::move(entry->second));
  entries_.erase(entry);
}

void ObjectStore::answer_receipts(Entry& entry) {
  for (const auto& receipt : std::exchange(entry.receipts, {})) {
    if (--receipt->missing == 0 && !closed_) {
      notices_.push_back(receipt->notice);
    }
  }
}

void ObjectStore::flush() {
  std::unique_lock lock(mutex_);
  if (sending_) {
    return;  // whoever sends sees it, and so their order is kept
  }
  sending_ = true;
  while (!notices_.empty()) {
    const ObjectNotice notice = notices_.front();
    notices_.pop_front();
    lock.unlock();
    send_(notice);
    lock.lock();
  }
  sending_ = false;
}

ObjectStore::State ObjectStore::state(ObjectId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return owner_of(id) == node_ || closed_ || lost_.contains(owner_of(id)) ? State::kLost
                                                                            : State::kAbsent;
  }
  if (found->second.lost) {
    return State::kLost;
  }
  return found->second.value.has_value() ? State::kHere : State::kAbsent;
}

std::optional<ObjectValue> ObjectStore::value(ObjectId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  return found == entries_.end() ? std::nullopt : found->second.value;
}

std::optional<ObjectValue> ObjectStore::value_for(ObjectId id, int node) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return std::nullopt;
  }
  if (found->second.value.has_value() && !lost_.contains(node)) {
    found->second.copies.insert(node);
  }
  return found->second.value;
}

std::optional<SegmentAddress> ObjectStore::segment(ObjectId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.segment == nullptr) {
    return std::nullopt;
  }
  return found->second.segment->address();
}

void ObjectStore::add(ObjectId id, ObjectValue value, bool came) {
  Trash trash;
  const std::lock_guard lock(mutex_);
  fetches_ += came ? 1 : 0;
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.lost || found->second.value.has_value()) {
    trash.values.push_back(std::move(value));  // nobody holds it any more
  } else {
    found->second.value = std::move(value);
  }
}

void ObjectStore::keep_for_host(ObjectId id, ObjectValue value) {
  const std::uint64_t size = value.size();
  take_room(size);
  std::unique_ptr<ObjectSegment> segment;
  try {
    segment = ObjectSegment::create(value);
  } catch (...) {
    give_back_room(size);
    throw;
  }
  Trash trash;
  const std::lock_guard lock(mutex_);
  ++fetches_;
  if (closed_ || lost_.contains(owner_of(id))) {
    bytes_ -= closed_ ? 0 : size;
    trash.values.push_back(std::move(value));
    return;
  }
  Entry& entry = entries_[id];
  if (entry.value.has_value()) {
    trash.values.push_back(std::move(*entry.value));
  }
  bytes_ -= entry.bytes;
  entry.kept = true;
  entry.value = std::move(value);
  entry.segment = std::move(segment);
  entry.bytes = size;
}

void ObjectStore::sent(const MessageKey& message, const std::vector<ObjectId>& objects) {
  Trash trash;
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || lost_.contains(message.to)) {
      return;
    }
    std::vector<ObjectHold> holds;
    holds.reserve(objects.size());
    for (const ObjectId id : objects) {
      holds.emplace_back(handle(id));
    }
    in_transit_.emplace(message, std::move(holds));
  }
  flush();
}

void ObjectStore::received(const MessageKey& message) {
  Trash trash;
  const std::lock_guard lock(mutex_);
  if (const auto found = in_transit_.find(message); found != in_transit_.end()) {
    trash.holds.push_back(std::move(found->second));
    in_transit_.erase(found);
  }
}

std::vector<ObjectHold> ObjectStore::receive(int from, std::uint64_t request, bool reply,
                                             const std::vector<ObjectId>& objects) {
  std::vector<ObjectHold> holds;
  holds.reserve(objects.size());
  {
    const std::lock_guard lock(mutex_);
    const auto receipt = std::make_shared<Receipt>();
    receipt->notice = {ObjectNotice::Kind::kReceived, from, 0, 0, request, reply};
    for (const ObjectId id : objects) {
      holds.emplace_back(handle(id));
      // What is said to the sender comes after the hold, where the sender is the owner.
      Entry& entry = entries_.at(id);
      if (entry.asked && owner_of(id) != from) {
        ++receipt->missing;
        entry.receipts.push_back(receipt);
      }
    }
    if (from != node_ && receipt->missing == 0 && !closed_) {
      notices_.push_back(receipt->notice);
    }
  }
  flush();
  return holds;
}

bool ObjectStore::add_holder(ObjectId id, int node) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.lost) {
    return false;
  }
  if (!lost_.contains(node)) {
    found->second.holders.insert(node);
  }
  return true;
}

void ObjectStore::remove_holder(ObjectId id, int node) {
  Trash trash;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(id); found != entries_.end()) {
      found->second.holders.erase(node);
      free_if_unused(id, trash);
    }
  }
  flush();
}

void ObjectStore::drop(ObjectId id) {
  Trash trash;
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) {
    return;
  }
  found->second.kept = false;
  found->second.lost = true;
  if (found->second.handles == 0) {
    throw_out(found, trash);
  }
}

void ObjectStore::registered(ObjectId id, std::uint64_t generation, bool here) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.generation != generation) {
      return;  // of an earlier time that it was held
    }
    found->second.asked = false;
    found->second.lost = found->second.lost || !here;
    answer_receipts(found->second);
  }
  flush();
}

void ObjectStore::node_lost(int node) {
  Trash trash;
  {
    const std::lock_guard lock(mutex_);
    lost_.insert(node);
    for (auto message = in_transit_.begin(); message != in_transit_.end();) {
      if (message->first.to == node) {
        trash.holds.push_back(std::move(message->second));
        message = in_transit_.erase(message);
      } else {
        ++message;
      }
    }
    std::vector<ObjectId> ids;
    ids.reserve(entries_.size());
    for (const auto& [id, entry] : entries_) {
      ids.push_back(id);
    }
    for (const ObjectId id : ids) {
      const auto found = entries_.find(id);
      Entry& entry = found->second;
      if (owner_of(id) == node_) {
        entry.copies.erase(node);
        if (entry.holders.erase(node) > 0) {
          free_if_unused(id, trash);
        }
      } else if (owner_of(id) == node) {
        entry.lost = true;
        entry.asked = false;
        answer_receipts(entry);
        if (entry.value.has_value()) {
          trash.values.push_back(std::move(*entry.value));
          entry.value.reset();
        }
        bytes_ -= std::exchange(entry.bytes, 0);
        entry.segment.reset();
        entry.kept = false;
        if (entry.handles == 0) {
          throw_out(found, trash);
        }
      }
    }
  }
  flush();
}

ObjectCounts ObjectStore::counts() const {
  const std::lock_guard lock(mutex_);
  ObjectCounts counts;
  counts.objects = entries_.size();
  for (const auto& [id, entry] : entries_) {
    counts.segments += entry.segment != nullptr ? 1 : 0;
  }
  counts.bytes = bytes_;
  counts.in_transit = in_transit_.size();
  counts.fetches = fetches_;
  return counts;
}

}  // namespace desta::runtime::detail
