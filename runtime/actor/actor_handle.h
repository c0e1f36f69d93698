// What one node knows of one actor, wherever that lives: shared by all references to it on the node.
// Private to this folder.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/actor/errors.h"
#include "runtime/actor/messages.h"
#include "runtime/core/adaptive_mutex.h"

namespace desta::runtime::detail {

class ActorCell;
class NodeCore;

class ActorHandle {
 public:
  ActorHandle(NodeCore& core, ActorAddress address)
      : core(core), address(std::move(address)), node(this->address.node) {}

  // Counts a call that is going to be made; false when max_pending_calls are unanswered.
  [[nodiscard]] bool admit() {
    if (unanswered_.fetch_add(1, std::memory_order_relaxed) < address.max_pending_calls) {
      return true;
    }
    release();
    return false;
  }
  void release() { unanswered_.fetch_sub(1, std::memory_order_relaxed); }

  NodeCore& core;
  const ActorAddress address;
  std::atomic<int> node;  // where it is now

  // Where calls to it go. The rest is under `mutex`.
  enum class Way { kOpen, kParked, kDead };
  AdaptiveMutex mutex;
  std::shared_ptr<ActorCell> cell;  // when it lives on this node
  Way way = Way::kOpen;
  RemoteError death;                   // kDead
  std::vector<std::uint64_t> parked;    // requests that wait for its restart, in order of submission
  std::vector<std::uint64_t> to_retry;  // of these, the ones that were out; before the others
  std::atomic<ActorCell*> local = nullptr;  // `cell`, for a look without the mutex

 private:
  std::atomic<int> unanswered_ = 0;
};

}  // namespace desta::runtime::detail
