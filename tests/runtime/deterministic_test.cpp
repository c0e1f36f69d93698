// The cluster in one thread: it repeats itself, and it finds races that threads hide.
#include "runtime/actor/deterministic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>

#include "actors_under_test.h"
#include "runtime/actor/node_core.h"

namespace desta::runtime::testing {
namespace {

// A counter with a race: it reads, asks another actor, and writes back what it read plus one. Correct
// while it serves one call at a time, wrong when calls interleave.
class Ledger {
 public:
  Task<int> add(ActorRef<Probe> witness) {
    const int before = value_;
    (void)co_await witness.call<&Probe::add>(1);
    value_ = before + 1;
    co_return value_;
  }
  [[nodiscard]] int value() const { return value_; }

 private:
  int value_ = 0;
};

class CarelessLedger : public Ledger {};

// Asks a friend, who asks back.
class Friend {
 public:
  Task<int> ask(ActorRef<Friend> other, ActorRef<Friend> self) {
    co_return co_await other.call<&Friend::ask_back>(self);
  }
  Task<int> ask_back(ActorRef<Friend> asker) { co_return co_await asker.call<&Friend::answer>(); }
  int answer() { return 1; }
};

using std::chrono::milliseconds;
using Time = detail::Scheduler::Clock::time_point;

// Writes down when it was made.
class Phoenix {
 public:
  Phoenix() { births.push_back(current_system().core().scheduler().now()); }
  void fail() { throw DataError("ashes"); }
  void live() {}

  static inline std::vector<Time> births;
};

void register_phoenix() {
  actor_type<Phoenix>("Phoenix")
      .constructor<>()
      .method<&Phoenix::fail>("fail")
      .method<&Phoenix::live>("live");
  Phoenix::births.clear();
}

// The times between the births.
std::vector<milliseconds> pauses() {
  std::vector<milliseconds> found;
  for (std::size_t life = 1; life < Phoenix::births.size(); ++life) {
    found.push_back(std::chrono::duration_cast<milliseconds>(Phoenix::births[life] -
                                                             Phoenix::births[life - 1]));
  }
  return found;
}

void register_ledgers() {
  register_probe();
  actor_type<Friend>("Friend")
      .constructor<>()
      .method<&Friend::ask>("ask")
      .method<&Friend::ask_back>("ask_back")
      .method<&Friend::answer>("answer");
  actor_type<Ledger>("Ledger")
      .constructor<>()
      .method<&Ledger::add>("add")
      .method<&Ledger::value>("value");
  actor_type<CarelessLedger>("CarelessLedger")
      .constructor<>()
      .default_group({.threads = 1, .calls = 10})
      .method<&CarelessLedger::add>("add")
      .method<&CarelessLedger::value>("value");
}

// What is in the ledger after a call from each of two nodes.
template <typename Kind>
int run_ledger(std::uint64_t seed) {
  register_ledgers();
  DeterministicCluster cluster(3, seed);
  const auto ledger = cluster.node(0).spawn<Kind>({.name = "ledger", .node = 1});
  const auto witness =
      cluster.node(0).spawn<Probe>({.name = "witness", .node = 2}, ProbeOptions{});
  const auto far_ledger = cluster.node(2).template get_actor<Kind>("ledger");
  const auto far_witness = cluster.node(2).get_actor<Probe>("witness");
  std::vector<Future<int>> calls;
  calls.push_back(ledger.template call<&Kind::add>(witness));
  calls.push_back(far_ledger.template call<&Kind::add>(far_witness));
  wait_all(calls);
  return ledger.template call<&Kind::value>().get();
}

TEST(Deterministic, SameSeedGivesTheSameHistory) {
  register_ledgers();
  const auto history = [](std::uint64_t seed) {
    DeterministicCluster cluster(3, seed);
    std::vector<Future<int>> calls;
    for (int node = 0; node < 3; ++node) {
      const auto probe = cluster.node(node).spawn<Probe>({.node = (node + 1) % 3}, ProbeOptions{});
      calls.push_back(probe.call<&Probe::add>(1));
    }
    wait_all(calls);
    cluster.run_until_idle();
    return cluster.history();
  };
  EXPECT_EQ(history(7), history(7));
  std::set<std::vector<std::string>> different;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    different.insert(history(seed));
  }
  EXPECT_GT(different.size(), 15U);
}

TEST(Deterministic, ActorStaysInACallThatWaits) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    ASSERT_EQ(run_ledger<Ledger>(seed), 2) << "seed " << seed;
  }
}

TEST(Deterministic, SearchFindsTheRaceOfInterleavedCalls) {
  std::set<int> results;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    results.insert(run_ledger<CarelessLedger>(seed));
  }
  EXPECT_EQ(results, (std::set<int>{1, 2})) << "some orders lose an update, some do not";
}

TEST(Deterministic, WaitForEachOtherIsFoundNotHung) {
  register_ledgers();
  DeterministicCluster cluster(2, 1);
  const auto a = cluster.node(0).spawn<Friend>({.name = "a", .node = 0});
  const auto b = cluster.node(0).spawn<Friend>({.name = "b", .node = 1});
  const auto stuck = a.call<&Friend::ask>(b, a);
  EXPECT_NE(message_of<InternalError>([&] { (void)stuck.get(); }).find("deadlock"),
            std::string::npos);
}

TEST(Deterministic, PauseBeforeARestartDoublesUpToItsLimit) {
  register_phoenix();
  DeterministicCluster cluster(2, 1);
  const auto phoenix = cluster.node(0).spawn<Phoenix>({.node = 1,
                                                       .max_restarts = -1,
                                                       .restart_backoff = milliseconds(100),
                                                       .max_restart_backoff = milliseconds(1000)});
  std::vector<Future<void>> calls;
  for (int life = 0; life < 6; ++life) {
    calls.push_back(phoenix.call<&Phoenix::fail>());
  }
  calls.push_back(phoenix.call<&Phoenix::live>());
  EXPECT_NO_THROW(calls.back().get());
  EXPECT_EQ(pauses(), (std::vector{milliseconds(100), milliseconds(200), milliseconds(400),
                                   milliseconds(800), milliseconds(1000), milliseconds(1000)}));
}

TEST(Deterministic, PauseBeginsAnewWhenTheRestartsAreLongAgo) {
  register_phoenix();
  DeterministicCluster cluster(2, 1);
  const auto phoenix = cluster.node(0).spawn<Phoenix>({.node = 1,
                                                       .max_restarts = 2,
                                                       .restart_window = milliseconds(10'000),
                                                       .restart_backoff = milliseconds(100)});
  phoenix.ready().get();
  for (int time = 0; time < 2; ++time) {
    Phoenix::births = {cluster.node(0).core().scheduler().now()};
    (void)phoenix.call<&Phoenix::fail>();
    (void)phoenix.call<&Phoenix::fail>();
    phoenix.call<&Phoenix::live>().get();
    EXPECT_EQ(pauses(), (std::vector{milliseconds(100), milliseconds(200)}));
    cluster.run_for(milliseconds(10'001));
  }
}

TEST(Deterministic, PauseDoublesFromLossToLossOfItsNode) {
  register_phoenix();
  std::vector<ActorSystemOptions> nodes(4);
  for (auto& node : nodes) {
    node.resources = {.cpu = 1, .gpu = 0, .memory = 1};
  }
  nodes[0].resources.cpu = 0;
  DeterministicCluster cluster(4, 1, nodes);
  const auto phoenix = cluster.node(0).spawn<Phoenix>({.resources = {.cpu = 1, .gpu = 0, .memory = 0},
                                                       .max_restarts = -1,
                                                       .restart_backoff = milliseconds(100)});
  phoenix.call<&Phoenix::live>().get();
  for (int loss = 0; loss < 2; ++loss) {
    cluster.kill(phoenix.node());
    phoenix.with({.max_task_retries = 1}).call<&Phoenix::live>().get();
  }
  EXPECT_EQ(pauses(), (std::vector{milliseconds(100), milliseconds(200)}));
}

// An actor loses one node after the other. Whenever the news comes, calls of every node find it.
TEST(Deterministic, ActorThatMovedIsFoundAfterFurtherLosses) {
  register_ledgers();
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::vector<ActorSystemOptions> nodes(5);
    for (auto& node : nodes) {
      node.resources = {.cpu = 1, .gpu = 0, .memory = 1};
    }
    nodes[0].resources.cpu = nodes[4].resources.cpu = 0;
    DeterministicCluster cluster(5, seed, nodes);
    const auto probe = cluster.node(0).spawn<Probe>({.name = "p",
                                                     .resources = {.cpu = 1, .gpu = 0, .memory = 0},
                                                     .max_restarts = -1},
                                                    ProbeOptions{});
    // Node 4 knows it from the start, or hears of it when it is on its way.
    std::optional<ActorRef<Probe>> far;
    if (seed % 2 == 0) {
      far = cluster.node(4).get_actor<Probe>("p");
    }
    for (int loss = 0; loss < 2; ++loss) {
      ASSERT_EQ(probe.with({.max_task_retries = 9}).call<&Probe::add>(1).get(), 1) << seed;
      for (std::uint64_t steps = 0; steps < seed % 30; ++steps) {
        (void)cluster.step();
      }
      cluster.kill(probe.node());
      for (std::uint64_t steps = 0; steps < seed % 17; ++steps) {
        (void)cluster.step();
      }
      const auto known = far.has_value() ? *far : cluster.node(4).get_actor<Probe>("p");
      ASSERT_EQ(known.with({.max_task_retries = 9}).call<&Probe::add>(0).get(), 0) << seed;
    }
  }
}

// A call of another node that is cancelled at any moment runs once or never, and the calls beside it
// run as if it had not been there.
TEST(Deterministic, CancelledCallRunsOnceOrNever) {
  register_ledgers();
  std::set<std::vector<int>> seen;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    DeterministicCluster cluster(2, seed);
    const auto probe = cluster.node(0).spawn<Probe>({.node = 1}, ProbeOptions{});
    const auto first = probe.call<&Probe::append>(1);
    const auto cancelled = probe.call<&Probe::append>(2);
    const auto last = probe.call<&Probe::append>(3);
    for (std::uint64_t steps = 0; steps < seed % 20; ++steps) {
      (void)cluster.step();
    }
    const bool was_done = cancelled.ready();
    cancelled.cancel();
    ASSERT_TRUE(cancelled.ready());
    ASSERT_EQ(cancelled.error().has_value(), !was_done) << "seed " << seed;
    first.get();
    last.get();
    const auto numbers = probe.call<&Probe::numbers>().get();
    ASSERT_TRUE(numbers == (std::vector{1, 2, 3}) || (!was_done && numbers == (std::vector{1, 3})))
        << "seed " << seed;
    seen.insert(numbers);
    cluster.run_until_idle();
    ASSERT_EQ(cluster.node(1).core().describe().at(0).pending, 0U) << "seed " << seed;
  }
  EXPECT_EQ(seen.size(), 2U) << "some come in time, some too late";
}

// Calls, at most once: whatever is lost with a node, no call runs twice and none is left unanswered.
TEST(Deterministic, LossOfANodeAtAnyMomentLeavesNoCallOpen) {
  register_ledgers();
  int unavailable = 0;
  int answered = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    DeterministicCluster cluster(3, seed);
    const auto probe = cluster.node(0).spawn<Probe>(
        {.name = "p", .node = 2, .max_restarts = -1}, ProbeOptions{});
    std::vector<Future<void>> calls;
    for (int call = 0; call < 10; ++call) {
      calls.push_back(probe.call<&Probe::append>(call));
    }
    for (std::uint64_t steps = 0; steps < seed % 40; ++steps) {
      (void)cluster.step();
    }
    cluster.kill(2);
    ASSERT_TRUE(wait(calls, WaitFor::kAll, std::chrono::seconds(100))) << "seed " << seed;
    for (const auto& call : calls) {
      call.error().has_value() ? ++unavailable : ++answered;
    }
    // The restarted actor is another, empty one, and is reached by the same reference.
    const auto numbers = probe.with({.max_task_retries = 1}).call<&Probe::numbers>().get();
    ASSERT_TRUE(std::ranges::adjacent_find(numbers) == numbers.end());
    ASSERT_NE(probe.node(), 2);
  }
  EXPECT_GT(unavailable, 0);
  EXPECT_GT(answered, 0);
}

// Calls, at least once: with retries each one runs on the actor that is left, in order.
TEST(Deterministic, RetriedCallsRunInOrderOfSubmission) {
  register_ledgers();
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    DeterministicCluster cluster(3, seed);
    const auto probe = cluster.node(1).spawn<Probe>(
        {.name = "p", .node = 2, .max_restarts = 1, .max_task_retries = 1}, ProbeOptions{});
    std::vector<Future<void>> calls;
    for (int call = 0; call < 10; ++call) {
      calls.push_back(probe.call<&Probe::append>(call));
    }
    for (std::uint64_t steps = 0; steps < seed % 40; ++steps) {
      (void)cluster.step();
    }
    cluster.kill(2);
    calls.push_back(probe.call<&Probe::append>(10));
    ASSERT_NO_THROW(wait_all(calls)) << "seed " << seed;
    const auto numbers = probe.call<&Probe::numbers>().get();
    ASSERT_TRUE(std::ranges::is_sorted(numbers)) << "seed " << seed;
    ASSERT_EQ(numbers.back(), 10);
  }
}

}  // namespace
}  // namespace desta::runtime::testing
