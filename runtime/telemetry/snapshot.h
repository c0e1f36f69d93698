// The state of a whole actor system at one moment, as values: what the status page shows.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace desta::runtime {

// What a node has, or an actor needs. Units: cores, devices, bytes.
struct Resources {
  double cpu = 0;
  double gpu = 0;
  std::uint64_t memory = 0;

  bool operator==(const Resources&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cpu, gpu, memory);
  }
};

enum class NodeKind : std::uint8_t { kRank, kJoined };
enum class NodeState : std::uint8_t { kAlive, kSilent, kDead };
enum class ActorState : std::uint8_t { kStarting, kIdle, kBusy, kRestarting, kDead };

struct NodeInfo {
  int node = 0;
  NodeKind kind = NodeKind::kRank;
  NodeState state = NodeState::kAlive;  // kSilent: no heartbeat for longer than it should be
  std::string host;
  std::int64_t process = 0;  // its process id
  Resources total;
  Resources free;
  double seconds_since_heartbeat = 0;
  std::string death_cause;  // empty unless dead

  template <class Archive>
  void serialize(Archive& archive) {
    archive(node, kind, state, host, process, total, free, seconds_since_heartbeat, death_cause);
  }
};

struct ActorInfo {
  std::string name;
  std::string type;
  int node = 0;
  ActorState state = ActorState::kStarting;
  std::uint64_t calls = 0;     // finished, failed ones too
  std::uint64_t failures = 0;  // calls that threw
  std::uint64_t restarts = 0;
  std::uint64_t pending = 0;   // waiting or running now
  std::string death_cause;     // empty unless dead
  std::string owner;           // the actor that spawned it; empty: a program
  std::string running;         // the method that runs now; empty: none
  double running_seconds = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, type, node, state, calls, failures, restarts, pending, death_cause, owner,
            running, running_seconds);
  }
};

// The one that all others wait for.
struct HangReport {
  std::string culprit;  // "actor stage/3 on node 3, method run_step, for 41 s"; empty: nobody hangs
  std::vector<std::string> waiting;  // the stack of calls that wait for it, the first victim last

  template <class Archive>
  void serialize(Archive& archive) {
    archive(culprit, waiting);
  }
};

struct SystemSnapshot {
  double time = 0;     // seconds since 1970
  double uptime = 0;   // seconds
  std::vector<NodeInfo> nodes;
  std::vector<ActorInfo> actors;
  std::uint64_t calls = 0;          // finished, ever, by all actors
  double calls_per_second = 0;      // since the snapshot before
  std::map<std::string, double> gauges;  // what the job publishes: "samples_per_second", "loss"
  HangReport hang;
};

[[nodiscard]] std::string_view name_of(NodeState state);
[[nodiscard]] std::string_view name_of(ActorState state);
[[nodiscard]] std::string_view name_of(NodeKind kind);

}  // namespace desta::runtime
