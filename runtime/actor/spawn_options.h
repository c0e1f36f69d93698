// How an actor is to live.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "runtime/telemetry/snapshot.h"

namespace desta::runtime {

enum class Lifetime : std::uint8_t {
  kOwned,     // ends with the actor, or the program, that spawned it
  kDetached,  // lives until it is ended or the job is
};

struct SpawnOptions {
  std::string name{};  // unique in the job; empty: "<type>#<number>"

  // Where. -1: with neither resources nor a group, the node that spawns; otherwise a node that has
  // the resources free. They are reserved until the actor ends.
  int node = -1;
  Resources resources{};
  std::uint64_t placement_group = 0;  // PlacementGroup::id
  int bundle = -1;                    // of the group; -1: the first with room

  Lifetime lifetime = Lifetime::kOwned;

  // 0: an error of a method goes to its caller and the actor goes on as it is; the loss of its node
  // is its death. N: after an error the object is made anew from the same arguments, and after the
  // loss of its node it is made on another; at most N times within `restart_window` (0: ever); the
  // next error kills it. -1: without limit.
  int max_restarts = 0;
  std::chrono::milliseconds restart_window{0};
  // The pause before the first restart; each further one doubles it.
  std::chrono::milliseconds restart_backoff{100};
  std::chrono::milliseconds max_restart_backoff{10'000};
  // Its death is a failure of its owner, which is restarted or dies of it.
  bool escalate = false;

  // A call whose node was lost is sent again to the restarted actor, at most so often: it then runs
  // at least once, instead of at most once.
  int max_task_retries = 0;

  // Calls of one node to this actor that may be unanswered at a time; one more fails with
  // PendingCallsLimitExceeded, or waits where the caller asks for that.
  int max_pending_calls = 1000;

  // A thread of its own for methods outside of concurrency groups: for actors that compute for
  // seconds, or use libraries that keep state by thread.
  bool own_thread = false;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, node, resources, placement_group, bundle, lifetime, max_restarts, restart_window,
            restart_backoff, max_restart_backoff, escalate, max_task_retries, max_pending_calls,
            own_thread);
  }
};

}  // namespace desta::runtime
