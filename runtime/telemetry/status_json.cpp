#include "runtime/telemetry/status_json.h"

#include <nlohmann/json.hpp>

namespace desta::runtime {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json object_of(const Resources& resources) {
  return {{"cpu", resources.cpu}, {"gpu", resources.gpu}, {"memory", resources.memory}};
}

Json object_of(const NodeInfo& node) {
  return {{"node", node.node},
          {"kind", name_of(node.kind)},
          {"state", name_of(node.state)},
          {"host", node.host},
          {"process", node.process},
          {"total", object_of(node.total)},
          {"free", object_of(node.free)},
          {"seconds_since_heartbeat", node.seconds_since_heartbeat},
          {"death_cause", node.death_cause}};
}

Json object_of(const ActorInfo& actor) {
  return {{"name", actor.name},
          {"type", actor.type},
          {"node", actor.node},
          {"state", name_of(actor.state)},
          {"calls", actor.calls},
          {"failures", actor.failures},
          {"restarts", actor.restarts},
          {"pending", actor.pending},
          {"death_cause", actor.death_cause},
          {"owner", actor.owner},
          {"running", actor.running},
          {"running_seconds", actor.running_seconds}};
}

template <typename T>
Json array_of(const std::vector<T>& values) {
  Json array = Json::array();
  for (const T& value : values) {
    array.push_back(object_of(value));
  }
  return array;
}

}  // namespace

std::string to_json(const SystemSnapshot& snapshot) {
  Json json;
  json["time"] = snapshot.time;
  json["uptime"] = snapshot.uptime;
  json["calls"] = snapshot.calls;
  json["calls_per_second"] = snapshot.calls_per_second;
  json["gauges"] = Json::object();
  for (const auto& [name, value] : snapshot.gauges) {
    json["gauges"][name] = value;
  }
  json["hang"] = nullptr;
  if (!snapshot.hang.culprit.empty()) {
    json["hang"] = {{"culprit", snapshot.hang.culprit}, {"waiting", snapshot.hang.waiting}};
  }
  json["nodes"] = array_of(snapshot.nodes);
  json["actors"] = array_of(snapshot.actors);
  return dump(json);
}

std::string valid_utf8(const std::string& text) {
  return Json::parse(dump(text)).get<std::string>();
}

}  // namespace desta::runtime
