#include "support/made_up_snapshot.h"

#include <string>

namespace desta::testing {

using namespace desta::runtime;

SystemSnapshot made_up_snapshot() {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  const Resources whole{.cpu = 32, .gpu = 4, .memory = 256 * kGiB};
  const auto node = [&](int number, const char* host, double cpu, double gpu, std::uint64_t gib) {
    NodeInfo info;
    info.node = number;
    info.host = host;
    info.process = 48'211 + number;
    info.total = whole;
    info.free = {.cpu = cpu, .gpu = gpu, .memory = gib * kGiB};
    info.seconds_since_heartbeat = 0.2 + 0.1 * number;
    return info;
  };
  SystemSnapshot snapshot;
  snapshot.time = 1'790'000'000.25;
  snapshot.uptime = 7'384.5;
  snapshot.nodes = {node(0, "gpu-017", 3, 0, 41), node(1, "gpu-017", 6.5, 0.5, 96),
                    node(2, "gpu-018", 8, 0, 120), node(3, "gpu-018", 8, 0, 117),
                    node(4, "cpu-204", 32, 4, 256)};
  snapshot.nodes[3].state = NodeState::kSilent;
  snapshot.nodes[3].seconds_since_heartbeat = 41.3;
  snapshot.nodes[4].kind = NodeKind::kJoined;
  snapshot.nodes[4].state = NodeState::kDead;
  snapshot.nodes[4].death_cause = "connection reset by peer";
  snapshot.nodes[4].seconds_since_heartbeat = 512;

  const auto actor = [&](const std::string& name, const char* type, int at) -> ActorInfo& {
    ActorInfo& info = snapshot.actors.emplace_back();
    info.name = name;
    info.type = type;
    info.node = at;
    info.state = ActorState::kIdle;
    info.calls = 4'120 + 37 * snapshot.actors.size();
    return info;
  };
  actor("coordinator", "Coordinator", 0).calls = 96'404;
  for (int i = 0; i < 8; ++i) {
    ActorInfo& stage = actor("stage/" + std::to_string(i), "Stage", i % 4);
    stage.state = ActorState::kBusy;
    stage.owner = "coordinator";
    stage.running = i == 3 ? "run_step" : "receive_activations";
    stage.running_seconds = i == 3 ? 41.3 : 40.9 - 0.3 * i;
    stage.pending = i == 3 ? 17 : 1;
  }
  for (int i = 0; i < 12; ++i) {
    ActorInfo& generator = actor("generator/" + std::to_string(i), "Generator", i % 4);
    generator.owner = "dataset";
    generator.state = i % 3 == 0 ? ActorState::kIdle : ActorState::kBusy;
    generator.running = i % 3 == 0 ? "" : "generate";
    generator.running_seconds = i % 3 == 0 ? 0 : 1.7 + 0.4 * i;
    generator.pending = static_cast<std::uint64_t>(i % 3 == 0 ? 0 : 2 + i);
  }
  for (int i = 0; i < 7; ++i) {
    actor("extractor/" + std::to_string(i), "Extractor", i % 4).owner = "dataset";
  }
  ActorInfo& dead = snapshot.actors[15];  // generator/6
  dead.state = ActorState::kDead;
  dead.failures = 3;
  dead.restarts = 2;
  dead.pending = 0;
  dead.running.clear();
  dead.death_cause = "out of memory: 9.2 GiB asked for; its 2 restarts are used up";
  ActorInfo& restarting = snapshot.actors[24];  // extractor/3
  restarting.state = ActorState::kRestarting;
  restarting.failures = 1;
  restarting.restarts = 1;
  actor("dataset", "Dataset", 0).calls = 51'022;
  actor(kScriptName, "Probe<int>", 1).owner = "a \"quoted\\\" owner\n& co";

  for (const ActorInfo& each : snapshot.actors) {
    snapshot.calls += each.calls;
  }
  snapshot.calls_per_second = 1'284.5;
  snapshot.gauges = {{"loss", 1.2345}, {"samples_per_second", 18.75}, {"step", 412}};
  snapshot.hang = {.culprit = "actor stage/3 on node 3, method run_step, for 41 s",
                   .waiting = {"coordinator waits for stage/3.run_step since 41 s",
                               "stage/2 on node 2 waits for gradients of stage/3 since 40 s",
                               "program waits for coordinator.train since 2 h 3 min"}};
  return snapshot;
}

}  // namespace desta::testing
