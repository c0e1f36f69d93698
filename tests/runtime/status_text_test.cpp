// The snapshot as JSON and as Prometheus text.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "prometheus_text.h"
#include "runtime/telemetry/status_json.h"
#include "runtime/telemetry/status_prometheus.h"
#include "support/made_up_snapshot.h"

namespace desta::runtime {
namespace {

using desta::runtime::testing::parse_prometheus;
using desta::testing::made_up_snapshot;
using nlohmann::json;

SystemSnapshot small_snapshot() {
  SystemSnapshot snapshot;
  snapshot.time = 1.5;
  snapshot.uptime = 2.25;
  snapshot.calls = 18'000'000'000'000'000'001U;
  snapshot.calls_per_second = 3.5;
  snapshot.gauges = {{"loss", std::nan("")}, {"step", 4}};
  NodeInfo node;
  node.node = 7;
  node.kind = NodeKind::kJoined;
  node.state = NodeState::kSilent;
  node.host = "h";
  node.process = 99;
  node.total = {.cpu = 2.5, .gpu = 1, .memory = 1'000};
  node.free = {.cpu = 0.5, .gpu = 0.25, .memory = 10};
  node.seconds_since_heartbeat = 30;
  node.death_cause = "d";
  snapshot.nodes = {node};
  ActorInfo actor;
  actor.name = "a\"\\\n\x01<b>";
  actor.type = "T";
  actor.node = 7;
  actor.state = ActorState::kRestarting;
  actor.calls = 5;
  actor.failures = 4;
  actor.restarts = 3;
  actor.pending = 2;
  actor.death_cause = "c";
  actor.owner = "o";
  actor.running = "m";
  actor.running_seconds = 0.125;
  snapshot.actors = {actor};
  return snapshot;
}

TEST(StatusJson, HasEveryField) {
  const json expected = json::parse(R"({
    "time": 1.5, "uptime": 2.25, "calls": 18000000000000000001, "calls_per_second": 3.5,
    "gauges": {"loss": null, "step": 4.0}, "hang": null,
    "nodes": [{"node": 7, "kind": "joined", "state": "silent", "host": "h", "process": 99,
               "total": {"cpu": 2.5, "gpu": 1.0, "memory": 1000},
               "free": {"cpu": 0.5, "gpu": 0.25, "memory": 10},
               "seconds_since_heartbeat": 30.0, "death_cause": "d"}],
    "actors": [{"name": "a\"\\\n\u0001<b>", "type": "T", "node": 7, "state": "restarting",
                "calls": 5, "failures": 4, "restarts": 3, "pending": 2, "death_cause": "c",
                "owner": "o", "running": "m", "running_seconds": 0.125}]})");
  EXPECT_EQ(json::parse(to_json(small_snapshot())), expected);
  EXPECT_EQ(to_json(small_snapshot()).find('\n'), std::string::npos) << "one line";
}

TEST(StatusJson, EmptyListsAreLists) {
  const json parsed = json::parse(to_json({}));
  EXPECT_EQ(parsed.at("nodes"), json::array());
  EXPECT_EQ(parsed.at("actors"), json::array());
  EXPECT_EQ(parsed.at("gauges"), json::object());
}

TEST(StatusJson, TellsOfAHang) {
  const SystemSnapshot snapshot = made_up_snapshot();
  const json hang = json::parse(to_json(snapshot)).at("hang");
  EXPECT_EQ(hang.at("culprit"), snapshot.hang.culprit);
  EXPECT_EQ(hang.at("waiting"), snapshot.hang.waiting);
}

TEST(StatusJson, BytesThatAreNotUtf8AreReplaced) {
  SystemSnapshot snapshot = small_snapshot();
  snapshot.actors[0].name = "a\xff\xc3";
  EXPECT_EQ(json::parse(to_json(snapshot)).at("actors")[0].at("name"), "a\ufffd\ufffd");
  EXPECT_EQ(valid_utf8("\xe2\x82"), "\ufffd");
  EXPECT_EQ(valid_utf8("\xe2\x82\xac \"\\"), "\u20ac \"\\");
}

TEST(StatusPrometheus, KeepsToTheFormat) {
  const auto parsed = parse_prometheus(to_prometheus(made_up_snapshot()));
  for (const auto& [family, type] : parsed.types) {
    EXPECT_TRUE(family.starts_with("desta_")) << family;
    EXPECT_EQ(family.ends_with("_total"), type == "counter") << family;
    EXPECT_GT(parsed.series.at(family), 0U) << family;
  }
}

TEST(StatusPrometheus, SumsActorsByType) {
  const SystemSnapshot snapshot = made_up_snapshot();
  const auto values = parse_prometheus(to_prometheus(snapshot)).values;
  // 12 generators, of which every third rests; one of those is dead.
  EXPECT_EQ(values.at(R"(desta_actors{type="Generator",state="busy"})"), 8);
  EXPECT_EQ(values.at(R"(desta_actors{type="Generator",state="dead"})"), 1);
  EXPECT_EQ(values.at(R"(desta_actors{type="Stage",state="idle"})"), 0);
  EXPECT_EQ(values.at(R"(desta_actor_pending_calls{type="Stage"})"), 17 + 7);
  EXPECT_EQ(values.at(R"(desta_actor_failures_total{type="Generator"})"), 3);
  EXPECT_EQ(values.at(R"(desta_actor_restarts_total{type="Extractor"})"), 1);
  EXPECT_EQ(values.at(R"(desta_actor_longest_running_seconds{type="Stage"})"), 41.3);
  EXPECT_EQ(values.at(R"(desta_actor_longest_running_seconds{type="Dataset"})"), 0);
  EXPECT_EQ(values.at("desta_calls_total"), static_cast<double>(snapshot.calls));
  EXPECT_EQ(values.at("desta_hang"), 1);
  EXPECT_EQ(values.at(R"(desta_nodes{kind="joined",state="dead"})"), 1);
  EXPECT_EQ(values.at(R"(desta_node_cpus_free{node="1",host="gpu-017"})"), 6.5);
  EXPECT_EQ(values.at(R"(desta_node_memory_bytes{node="0",host="gpu-017"})"), 256.0 * (1ULL << 30));
  EXPECT_EQ(values.at(R"(desta_job_gauge{name="samples_per_second"})"), 18.75);
}

TEST(StatusPrometheus, SeriesDoNotGrowWithTheActors) {
  SystemSnapshot snapshot = made_up_snapshot();
  const auto few = parse_prometheus(to_prometheus(snapshot));
  for (int i = 0; i < 10'000; ++i) {
    ActorInfo actor = snapshot.actors[static_cast<std::size_t>(i % 28)];
    actor.name = "more/" + std::to_string(i);
    snapshot.actors.push_back(actor);
  }
  const auto many = parse_prometheus(to_prometheus(snapshot));
  EXPECT_EQ(few.series, many.series);
}

TEST(StatusPrometheus, EscapesWhatTheJobNames) {
  SystemSnapshot snapshot = small_snapshot();
  const std::string awkward = "a \"b\"\\n\nc,d=\"}\xff";
  snapshot.actors[0].type = awkward;
  snapshot.nodes[0].host = awkward;
  snapshot.gauges = {{awkward, INFINITY}, {"a\xfe", 1}, {"a\xff", -INFINITY}};
  const auto parsed = parse_prometheus(to_prometheus(snapshot));
  std::set<std::string> contents;
  for (const auto& [series, labels] : parsed.labels) {
    for (const auto& [label, content] : labels) {
      contents.insert(label + ":" + content);
    }
  }
  const std::string expected = "a \"b\"\\n\nc,d=\"}\ufffd";
  EXPECT_TRUE(contents.contains("type:" + expected));
  EXPECT_TRUE(contents.contains("host:" + expected));
  EXPECT_TRUE(contents.contains("name:" + expected));
  EXPECT_EQ(parsed.series.at("desta_job_gauge"), 2U) << "two names that look the same are one";
}

TEST(StatusPrometheus, KeepsEveryDigit) {
  SystemSnapshot snapshot = small_snapshot();
  const std::string text = to_prometheus(snapshot);
  EXPECT_NE(text.find("\ndesta_calls_total 18000000000000000001\n"), std::string::npos);
  EXPECT_NE(text.find("\ndesta_job_gauge{name=\"loss\"} NaN\n"), std::string::npos);
}

}  // namespace
}  // namespace desta::runtime
