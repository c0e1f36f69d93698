// What a node does when others are lost, or actors that it knows have moved.
#include <algorithm>
#include <utility>

#include "runtime/actor/actor_ref.h"
#include "runtime/actor/directory.h"
#include "runtime/actor/node_agent.h"
#include "runtime/actor/node_core.h"
#include "runtime/core/log.h"

namespace desta::runtime::detail {

void NodeCore::locate(ActorId actor) {
  const auto told = directory_ref(*this).call<&Directory::locate>(actor);
  (void)told.then([this, actor](const Whereabouts& known) {
    // By way of the agent, so that what is heard of an actor is heard in order.
    const auto agent = agent_ref(*this, node_);
    if (known.gone) {
      (void)agent.call<&NodeAgent::actor_lost>(actor, known.cause);
    } else if (known.node >= 0) {
      (void)agent.call<&NodeAgent::actor_moved>(actor, known.node);
    }
  });
}

void NodeCore::node_lost(int node, const std::string& why) {
  std::vector<std::shared_ptr<ActorHandle>> there;  // let go of without the mutex
  {
    const std::lock_guard lock(handles_mutex_);
    lost_nodes_.insert(node);
    std::erase_if(moved_, [node](const auto& moved) { return moved.second == node; });
    for (const auto& [id, weak] : handles_) {
      if (auto handle = weak.lock(); handle != nullptr) {
        there.push_back(std::move(handle));
      }
    }
  }
  std::erase_if(there, [node](const auto& handle) { return handle->node != node; });
  const std::string message = fmt::format("node {} was lost: {}", node, why);
  for (const auto& handle : there) {
    const std::lock_guard lock(handle->mutex);
    if (handle->address.may_move) {
      handle->way = ActorHandle::Way::kParked;
    } else {
      handle->way = ActorHandle::Way::kDead;
      handle->death = {ErrorKind::kTransport, "", "the actor died: " + message,
                       handle->address.name, ""};
    }
  }
  // No call is sent there any more: what is pending now is all.
  std::vector<Pending> failed;
  {
    const std::lock_guard lock(pending_mutex_);
    for (auto entry = pending_.begin(); entry != pending_.end();) {
      Pending& pending = entry->second;
      if (pending.node != node) {
        ++entry;
        continue;
      }
      ActorHandle& handle = *pending.future->handle();
      if (pending.message.has_value() && handle.address.may_move) {
        if (pending.retries-- > 0) {
          pending.node = -1;
          handle.to_retry.push_back(entry->first);
          ++entry;
          continue;
        }
      }
      failed.push_back(std::move(pending));
      entry = pending_.erase(entry);
    }
  }
  for (const auto& handle : there) {
    {
      const std::lock_guard lock(handle->mutex);
      handle->parked.insert(handle->parked.end(), handle->to_retry.begin(),
                            handle->to_retry.end());
      handle->to_retry.clear();
      std::ranges::sort(handle->parked);  // numbers are given in order of submission
    }
    if (handle->address.may_move) {
      locate(handle->address.id);  // it may have ended before its node
    }
  }
  for (const Pending& pending : failed) {
    pending.future->fail(
        ReplyStatus::kUnavailable,
        named(unreachable(message + "; the call may have run or not"), *pending.future));
  }
  objects_->node_lost(node);
  const RemoteError orphaned{ErrorKind::kTransport, "",
                             fmt::format("its owner's {}", message), "", ""};
  for (const auto& cell : cells()) {
    if (cell->request().owner.node == node &&
        cell->request().options.lifetime == Lifetime::kOwned) {
      cell->end(orphaned);
    }
  }
}

void NodeCore::actor_moved(ActorId id, int node) {
  std::shared_ptr<ActorHandle> handle;
  {
    const std::lock_guard lock(handles_mutex_);
    moved_[id] = node;
    if (const auto found = handles_.find(id); found != handles_.end()) {
      handle = found->second.lock();
    }
  }
  if (handle == nullptr) {
    return;
  }
  // The way is open when nothing waits any more: calls that are made meanwhile come after.
  for (bool first = true;; first = false) {
    std::vector<std::uint64_t> parked;
    {
      const std::lock_guard lock(handle->mutex);
      if (first && handle->way != ActorHandle::Way::kParked) {
        return;
      }
      handle->node = node;
      parked.swap(handle->parked);
      if (parked.empty()) {
        handle->way = ActorHandle::Way::kOpen;
        if (node == node_) {
          handle->cell = find(id);
          handle->local = handle->cell.get();  // from now on calls need no message
        }
        return;
      }
    }
    for (const std::uint64_t request : parked) {
      std::optional<Message> message;
      {
        const std::lock_guard lock(pending_mutex_);
        const auto found = pending_.find(request);
        if (found == pending_.end()) {
          continue;  // cancelled
        }
        Pending& pending = found->second;
        pending.node = node;
        message = pending.retries > 0 ? pending.message : std::move(pending.message);
        if (pending.retries <= 0) {
          pending.message.reset();
        }
      }
      message->to = node;
      send_pending(request, std::move(*message));
    }
  }
}

void NodeCore::actor_lost(ActorId id, const RemoteError& cause) {
  std::shared_ptr<ActorHandle> handle;
  {
    const std::lock_guard lock(handles_mutex_);
    moved_.erase(id);
    if (const auto found = handles_.find(id); found != handles_.end()) {
      handle = found->second.lock();
    }
  }
  if (handle == nullptr) {
    return;
  }
  std::vector<std::uint64_t> parked;
  {
    const std::lock_guard lock(handle->mutex);
    handle->way = ActorHandle::Way::kDead;
    handle->death = cause;
    parked.swap(handle->parked);
  }
  for (const std::uint64_t request : parked) {
    settle_pending(request, ReplyStatus::kActorDied, cause);
  }
}

void NodeCore::set_moved(const std::map<ActorId, int>& moved) {
  for (const auto& [id, node] : moved) {
    actor_moved(id, node);
  }
}

}  // namespace desta::runtime::detail
