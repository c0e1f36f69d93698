#include "runtime/telemetry/snapshot.h"

namespace desta::runtime {

std::string_view name_of(NodeState state) {
  switch (state) {
    case NodeState::kAlive:
      return "alive";
    case NodeState::kSilent:
      return "silent";
    case NodeState::kDead:
      return "dead";
  }
  return "unknown";
}

std::string_view name_of(ActorState state) {
  switch (state) {
    case ActorState::kStarting:
      return "starting";
    case ActorState::kIdle:
      return "idle";
    case ActorState::kBusy:
      return "busy";
    case ActorState::kRestarting:
      return "restarting";
    case ActorState::kDead:
      return "dead";
  }
  return "unknown";
}

std::string_view name_of(NodeKind kind) { return kind == NodeKind::kRank ? "rank" : "joined"; }

}  // namespace desta::runtime
