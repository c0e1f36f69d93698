// Who is blamed when nothing moves.
#include "runtime/actor/hang.h"

#include <spdlog/sinks/ostream_sink.h>

#include <sstream>

#include "cluster_under_test.h"
#include "runtime/actor/hang_watch.h"
#include "runtime/core/log.h"

namespace desta::runtime::testing {
namespace {

using detail::find_hang;
using detail::WaitInfo;

// An actor, numbered and lettered, in a method for so long: waiting for another, or (0) computing.
WaitInfo in_method(int actor, double seconds, int for_actor = 0, int node = 0, int for_node = 0) {
  const auto name = [](int number) { return std::string(1, static_cast<char>('a' + number - 1)); };
  WaitInfo wait;
  wait.actor = static_cast<detail::ActorId>(actor);
  wait.name = actor == 0 ? "the program of node 0" : name(actor);
  wait.node = node;
  wait.method = actor == 0 ? "" : "run_step";
  wait.seconds = seconds;
  wait.for_actor = static_cast<detail::ActorId>(for_actor);
  wait.for_node = for_node;
  wait.for_name = for_actor == 0 ? "" : name(for_actor);
  wait.for_method = for_actor == 0 ? "" : "run_step";
  return wait;
}

TEST(Hang, NobodyHangsWhenNobodyWaitsLongEnough) {
  EXPECT_EQ(find_hang({}, {}, 1).culprit, "");
  const std::vector<WaitInfo> waits = {in_method(1, 9, 2), in_method(2, 100)};
  EXPECT_EQ(find_hang(waits, {}, 10).culprit, "") << "who computes may compute";
  EXPECT_NE(find_hang(waits, {}, 9).culprit, "");
}

TEST(Hang, OfAChainTheLastIsToBlame) {
  const std::vector<WaitInfo> waits = {in_method(0, 42, 1), in_method(1, 41, 2),
                                       in_method(2, 40, 3, 0, 1), in_method(3, 39, 0, 1)};
  const HangReport report = find_hang(waits, {}, 10);
  EXPECT_EQ(report.culprit, "actor c on node 1, method run_step, for 39 s");
  EXPECT_EQ(report.waiting,
            (std::vector<std::string>{
                "actor b on node 0, method run_step, for 40 s waits for method run_step of c",
                "actor a on node 0, method run_step, for 41 s waits for method run_step of b",
                "the program of node 0, for 42 s waits for method run_step of a"}));
}

TEST(Hang, OfSeveralCulpritsTheOneThatMostWaitForIsNamed) {
  const std::vector<WaitInfo> waits = {in_method(1, 40, 2), in_method(2, 40), in_method(3, 40, 5),
                                       in_method(4, 40, 5), in_method(5, 40)};
  EXPECT_EQ(find_hang(waits, {}, 10).culprit, "actor e on node 0, method run_step, for 40 s");
}

TEST(Hang, CircleIsNamedAsOne) {
  const std::vector<WaitInfo> waits = {in_method(0, 50, 4), in_method(4, 40, 2),
                                       in_method(2, 40, 1), in_method(1, 40, 3),
                                       in_method(3, 40, 2)};
  const HangReport report = find_hang(waits, {}, 10);
  EXPECT_EQ(report.culprit, "actors that wait for each other: a, b, c") << "d only waits for them";
  const std::vector<WaitInfo> itself = {in_method(1, 40, 1)};
  EXPECT_EQ(find_hang(itself, {}, 10).culprit, "actors that wait for each other: a");
}

TEST(Hang, SilentNodeIsToBlameForWhatIsOnIt) {
  NodeInfo silent;
  silent.node = 3;
  silent.state = NodeState::kSilent;
  silent.host = "gpu-3";
  silent.seconds_since_heartbeat = 33;
  const std::vector<NodeInfo> nodes = {silent};
  const std::vector<WaitInfo> waits = {in_method(0, 42, 1), in_method(1, 41, 2, 0, 3)};
  EXPECT_EQ(find_hang(waits, nodes, 10).culprit,
            "node 3 on gpu-3, silent for 33 s (it has actor b)");
}

TEST(Hang, CallThatHasNotBegunIsSaidToBe) {
  const std::vector<WaitInfo> waits = {in_method(0, 42, 2, 0, 1)};
  EXPECT_EQ(find_hang(waits, {}, 10).culprit,
            "actor b on node 1, which has not begun method run_step");
}

TEST(Hang, SnapshotOfARealOneNamesTheActorThatAllWaitFor) {
  register_probe();
  Probe::released_ = false;
  ActorSystemOptions options;
  options.hang_after = std::chrono::seconds(0);
  Cluster cluster({options, options});
  const auto first = cluster[0].spawn<Probe>({.name = "first", .node = 0}, ProbeOptions{});
  const auto middle = cluster[0].spawn<Probe>({.name = "middle", .node = 1}, ProbeOptions{});
  const auto last = cluster[0].spawn<Probe>({.name = "last", .node = 0}, ProbeOptions{});
  EXPECT_EQ(cluster[0].snapshot().hang.culprit, "");
  const Future<void> held = last.call<&Probe::hold>();
  ASSERT_TRUE(eventually([&] { return cluster.info("last").running == "hold"; }));
  const Future<int> middle_waits = middle.call<&Probe::add_through>(last, 1);
  const Future<int> first_waits = first.call<&Probe::add_through>(last, 1);
  HangReport report;
  EXPECT_TRUE(eventually([&] {
    report = cluster[0].snapshot(std::chrono::seconds(30)).hang;
    return report.culprit.starts_with("actor last on node 0, method hold, for ") &&
           report.waiting.size() == 1;
  })) << report.culprit;
  EXPECT_NE(report.waiting[0].find("waits for method add of last"), std::string::npos)
      << report.waiting[0];
  Probe::released_ = true;
  EXPECT_EQ(first_waits.get() + middle_waits.get(), 3);
}

TEST(Hang, WatchSaysInTheLogWhoIsToBlameAndOnce) {
  register_probe();
  Probe::released_ = false;
  ActorSystemOptions options;
  options.hang_after = std::chrono::seconds(0);
  Cluster cluster({options});
  std::ostringstream text;
  const auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(text);
  log().sinks().push_back(sink);
  const auto last = cluster[0].spawn<Probe>({.name = "last"}, ProbeOptions{});
  const auto first = cluster[0].spawn<Probe>({.name = "first"}, ProbeOptions{});
  const Future<void> held = last.call<&Probe::hold>();
  ASSERT_TRUE(eventually([&] { return cluster.info("last").running == "hold"; }));
  const Future<int> waits = first.call<&Probe::add_through>(last, 1);
  ASSERT_TRUE(eventually([&] { return cluster.info("first").running == "add_through"; }));
  {
    const HangWatch watch(cluster[0]);
    std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // it looks once a second
  }
  Probe::released_ = true;
  EXPECT_EQ(waits.get(), 1);
  log().sinks().pop_back();
  const std::string said = text.str();
  const std::string culprit = "nothing moves because of actor last on node 0, method hold";
  EXPECT_NE(said.find(culprit), std::string::npos) << said;
  EXPECT_EQ(said.find(culprit), said.rfind(culprit)) << said;
  EXPECT_NE(said.find("waits for method add of last"), std::string::npos) << said;
}

}  // namespace
}  // namespace desta::runtime::testing
