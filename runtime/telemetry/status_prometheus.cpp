#include "runtime/telemetry/status_prometheus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <utility>

#include "runtime/telemetry/status_json.h"

namespace desta::runtime {
namespace {

using Labels = std::vector<std::pair<std::string_view, std::string>>;

constexpr NodeKind kNodeKinds[] = {NodeKind::kRank, NodeKind::kJoined};
constexpr NodeState kNodeStates[] = {NodeState::kAlive, NodeState::kSilent, NodeState::kDead};
constexpr ActorState kActorStates[] = {ActorState::kStarting, ActorState::kIdle, ActorState::kBusy,
                                       ActorState::kRestarting, ActorState::kDead};

std::string escape_label(const std::string& value) {
  std::string escaped;
  for (const char c : valid_utf8(value)) {
    switch (c) {
      case '\\':
        escaped += "\\\\";
        break;
      case '"':
        escaped += "\\\"";
        break;
      case '\n':
        escaped += "\\n";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string format_value(double value) {
  if (std::isnan(value)) {
    return "NaN";
  }
  if (std::isinf(value)) {
    return value > 0 ? "+Inf" : "-Inf";
  }
  return fmt::format("{}", value);
}

std::string format_value(std::uint64_t value) { return fmt::format("{}", value); }

// A family is a HELP and a TYPE line and the samples that follow them.
class Exposition {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name,
                   type);
  }

  template <typename Value>
  void sample(Value value, const Labels& labels = {}) {
    text_ += name_;
    char separator = '{';
    for (const auto& [label, content] : labels) {
      fmt::format_to(std::back_inserter(text_), "{}{}=\"{}\"", separator, label,
                     escape_label(content));
      separator = ',';
    }
    fmt::format_to(std::back_inserter(text_), "{} {}\n", labels.empty() ? "" : "}",
                   format_value(value));
  }

  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string_view name_;
  std::string text_;
};

void write_nodes(Exposition& out, const std::vector<NodeInfo>& nodes) {
  out.family("desta_nodes", "gauge", "Nodes of the job.");
  for (const NodeKind kind : kNodeKinds) {
    for (const NodeState state : kNodeStates) {
      const auto count = std::ranges::count_if(
          nodes, [&](const NodeInfo& node) { return node.kind == kind && node.state == state; });
      out.sample(static_cast<std::uint64_t>(count),
                 {{"kind", std::string(name_of(kind))}, {"state", std::string(name_of(state))}});
    }
  }
  const auto each = [&](std::string_view name, std::string_view help, const auto& value) {
    out.family(name, "gauge", help);
    for (const NodeInfo& node : nodes) {
      out.sample(value(node), {{"node", std::to_string(node.node)}, {"host", node.host}});
    }
  };
  each("desta_node_cpus", "Cores of the node.", [](const auto& node) { return node.total.cpu; });
  each("desta_node_cpus_free", "Cores that no actor has taken.",
       [](const auto& node) { return node.free.cpu; });
  each("desta_node_gpus", "Devices of the node.", [](const auto& node) { return node.total.gpu; });
  each("desta_node_gpus_free", "Devices that no actor has taken.",
       [](const auto& node) { return node.free.gpu; });
  each("desta_node_memory_bytes", "Memory of the node.",
       [](const auto& node) { return node.total.memory; });
  each("desta_node_memory_bytes_free", "Memory that no actor has taken.",
       [](const auto& node) { return node.free.memory; });
  each("desta_node_heartbeat_age_seconds", "Time since the node was last heard of.",
       [](const auto& node) { return node.seconds_since_heartbeat; });
}

struct TypeSummary {
  std::map<ActorState, std::uint64_t> states;
  std::uint64_t pending = 0;
  std::uint64_t calls = 0;
  std::uint64_t failures = 0;
  std::uint64_t restarts = 0;
  double longest = 0;
};

void write_actors(Exposition& out, const std::vector<ActorInfo>& actors) {
  std::map<std::string, TypeSummary> types;
  for (const ActorInfo& actor : actors) {
    TypeSummary& type = types[valid_utf8(actor.type)];
    ++type.states[actor.state];
    type.pending += actor.pending;
    type.calls += actor.calls;
    type.failures += actor.failures;
    type.restarts += actor.restarts;
    if (!actor.running.empty()) {
      type.longest = std::max(type.longest, actor.running_seconds);
    }
  }
  out.family("desta_actors", "gauge", "Actors by type and state.");
  for (const auto& [name, type] : types) {
    for (const ActorState state : kActorStates) {
      const auto found = type.states.find(state);
      out.sample(found == type.states.end() ? std::uint64_t{0} : found->second,
                 {{"type", name}, {"state", std::string(name_of(state))}});
    }
  }
  const auto each = [&](std::string_view name, std::string_view kind, std::string_view help,
                        auto TypeSummary::*value) {
    out.family(name, kind, help);
    for (const auto& [type, summary] : types) {
      out.sample(summary.*value, {{"type", type}});
    }
  };
  each("desta_actor_pending_calls", "gauge", "Calls that wait or run now.", &TypeSummary::pending);
  each("desta_actor_longest_running_seconds", "gauge", "The call that runs for longest now.",
       &TypeSummary::longest);
  each("desta_actor_calls_total", "counter", "Calls finished, failed ones too.",
       &TypeSummary::calls);
  each("desta_actor_failures_total", "counter", "Calls that threw.", &TypeSummary::failures);
  each("desta_actor_restarts_total", "counter", "Restarts after a failure.",
       &TypeSummary::restarts);
}

}  // namespace

std::string to_prometheus(const SystemSnapshot& snapshot) {
  Exposition out;
  out.family("desta_uptime_seconds", "gauge", "Time since the job started.");
  out.sample(snapshot.uptime);
  out.family("desta_calls_total", "counter", "Calls finished by all actors, ever.");
  out.sample(snapshot.calls);
  out.family("desta_calls_per_second", "gauge", "Calls finished a second, lately.");
  out.sample(snapshot.calls_per_second);
  out.family("desta_hang", "gauge", "1 while all wait for one actor or node that does not move.");
  out.sample(std::uint64_t{snapshot.hang.culprit.empty() ? 0U : 1U});
  write_nodes(out, snapshot.nodes);
  write_actors(out, snapshot.actors);
  out.family("desta_job_gauge", "gauge", "What the job publishes, by name.");
  std::map<std::string, double> gauges;
  for (const auto& [name, value] : snapshot.gauges) {
    gauges[valid_utf8(name)] = value;
  }
  for (const auto& [name, value] : gauges) {
    out.sample(value, {{"name", name}});
  }
  return out.take();
}

}  // namespace desta::runtime
