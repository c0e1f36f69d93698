// Calls, futures and names.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "two_nodes.h"

namespace desta::runtime::testing {
namespace {

using std::chrono::milliseconds;

class Actor : public TwoNodes {};

TEST_F(Actor, LivesOnTheNodeItWasSpawnedOnWithItsArguments) {
  const auto probe = system.spawn<Probe>({.name = "p", .node = 1},
                                         ProbeOptions{.start = 40, .words = {"slow", "low"}});
  EXPECT_EQ(probe.node(), 1);
  EXPECT_EQ(probe.call<&Probe::add>(2).get(), 42);
  EXPECT_EQ(probe.call<&Probe::words>().get(), (std::vector<std::string>{"slow", "low"}));
}

TEST_F(Actor, OnTheCallersNodeIsCalledTheSameWay) {
  const auto probe = system.spawn<Probe>({.name = "p", .node = 0}, ProbeOptions{.start = 1});
  EXPECT_EQ(probe.call<&Probe::add>(2).get(), 3);
  EXPECT_NE(message_of<DataError>([&] { probe.call<&Probe::fail>("data").get(); }), "");
}

template <typename... Args>
constexpr bool kAddTakes = requires(ActorRef<Probe> probe, Args... args) {
  probe.call<&Probe::add>(args...);
};

template <typename... Args>
constexpr bool kMadeFrom = requires(ActorSystem& system, SpawnOptions options, Args... args) {
  system.spawn<Probe>(options, args...);
};

TEST_F(Actor, WrongArgumentsDoNotCompile) {
  static_assert(kAddTakes<int>);
  static_assert(!kAddTakes<std::string>);
  static_assert(!kAddTakes<>);
  static_assert(!kAddTakes<int, int>);
  static_assert(kMadeFrom<ProbeOptions>);
  static_assert(!kMadeFrom<int>);
  static_assert(!kMadeFrom<>);
}

TEST_F(Actor, ServesOneCallAtATime) {
  const auto probe = spawn("p");
  const auto call_some = [&] {
    std::vector<Future<int>> calls;
    for (int i = 0; i < 10; ++i) {
      calls.push_back(probe.call<&Probe::busy>());
    }
    wait_all(calls);
  };
  std::thread first(call_some);
  std::thread second(call_some);
  first.join();
  second.join();
  EXPECT_EQ(probe.call<&Probe::busy>().get(), 1);
}

TEST_F(Actor, ServesTheCallsOfACallerInOrder) {
  const auto probe = spawn("p");
  const auto append = [&](int begin) {
    for (int i = begin; i < begin + 300; ++i) {
      (void)probe.call<&Probe::append>(i);
    }
  };
  std::thread first(append, 0);
  std::thread second(append, 300);
  first.join();
  second.join();
  const std::vector<int> all = probe.call<&Probe::numbers>().get();
  std::vector<int> of_first;
  std::vector<int> of_second;
  for (const int number : all) {
    (number < 300 ? of_first : of_second).push_back(number);
  }
  std::vector<int> expected(300);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(of_first, expected);
  std::iota(expected.begin(), expected.end(), 300);
  EXPECT_EQ(of_second, expected);
}

TEST_F(Actor, ThrowsAtItsCallerTheSameTypeWithTheActorsName) {
  const auto probe = spawn("stage/0");
  EXPECT_EQ(message_of<DataError>([&] { probe.call<&Probe::fail>("data").get(); }),
            "corpus.jsonl: record 7 has no transcription (in actor stage/0, method fail)");
  EXPECT_EQ(message_of<TransportError>([&] { probe.call<&Probe::fail>("transport").get(); }),
            "rank 3 did not answer (in actor stage/0, method fail)");
  const Future<void> foreign = probe.call<&Probe::fail>("other");
  EXPECT_EQ(message_of<std::out_of_range>([&] { foreign.get(); }),
            "index 9 (in actor stage/0, method fail)");
  ASSERT_TRUE(foreign.error().has_value());
  EXPECT_EQ(foreign.error()->type, "std::out_of_range");
  EXPECT_EQ(foreign.error()->actor, "stage/0");
  EXPECT_EQ(foreign.error()->method, "fail");
}

TEST_F(Actor, IsFoundByNameFromEveryNode) {
  const auto probe = spawn("stage/0");
  EXPECT_EQ(probe.call<&Probe::add>(5).get(), 5);
  EXPECT_EQ(system.get_actor<Probe>("stage/0").call<&Probe::add>(1).get(), 6);
  EXPECT_EQ(other.get_actor<Probe>("stage/0").call<&Probe::add>(1).get(), 7);
  EXPECT_EQ(message_of<InternalError>([&] { (void)system.get_actor<Probe>("stage/9"); }),
            "looking up actor 'stage/9': there is no actor of this name");
}

TEST_F(Actor, NameIsUniqueInTheJob) {
  (void)spawn("stage/0");
  EXPECT_EQ(message_of<InternalError>(
                [&] { (void)other.spawn<Probe>({.name = "stage/0"}, ProbeOptions{}); }),
            "spawning actor 'stage/0': the name is taken by an actor on node 1");
}

TEST_F(Actor, CannotBeSpawnedOnANodeThatIsNotThere) {
  EXPECT_EQ(message_of<InternalError>(
                [&] { (void)system.spawn<Probe>({.name = "p", .node = 2}, ProbeOptions{}); }),
            "spawning actor 'p': there is no node 2: the job has 2");
}

TEST_F(Actor, CallsAnotherThroughAReferenceItWasGiven) {
  const auto here = system.spawn<Probe>({.name = "here", .node = 0}, ProbeOptions{.start = 10});
  const auto there = spawn("there");
  EXPECT_EQ(there.call<&Probe::add_through>(here, 5).get(), 15);
  EXPECT_EQ(here.call<&Probe::add>(0).get(), 15);
}

TEST_F(Actor, ThatWaitsForItselfIsAnErrorNotAHang) {
  EXPECT_NE(message_of<InternalError>([&] {
              spawn("p").call<&Probe::wait_for_self>().get();
            }).find("actor p waits for its own method add"),
            std::string::npos);
}

TEST_F(Actor, MethodThatWasNotRegisteredIsNamed) {
  EXPECT_NE(message_of<InternalError>([&] {
              (void)spawn("p").call<&Probe::not_registered>();
            }).find("Probe is not registered"),
            std::string::npos);
}

TEST_F(Actor, FutureTimesOutNamingWhoOwesTheAnswerAndMayBeAskedAgain) {
  const Future<void> held = spawn("stage/0").call<&Probe::hold>();
  EXPECT_EQ(message_of<TransportError>([&] { held.get(milliseconds(30)); }),
            "actor stage/0 on node 1 has not answered method hold within 0.03 s");
  Probe::released_ = true;
  EXPECT_NO_THROW(held.get());
}

TEST_F(Actor, WaitAnyReturnsTheOneThatIsDone) {
  const auto held = spawn("held");
  const auto quick = spawn("quick");
  std::vector<Future<void>> calls = {held.call<&Probe::hold>(), quick.call<&Probe::append>(1)};
  EXPECT_EQ(wait_any(calls), 1U);
  EXPECT_FALSE(calls[0].ready());
}

TEST_F(Actor, WaitAllThrowsTheFirstErrorWithoutWaitingForTheRest) {
  const std::vector<Future<void>> calls = {spawn("held").call<&Probe::hold>(),
                                           spawn("bad").call<&Probe::fail>("data")};
  EXPECT_THROW(wait_all(calls), DataError);
  EXPECT_FALSE(calls[0].ready());
}

TEST_F(Actor, GetAllReturnsTheResultsInOrder) {
  std::vector<Future<int>> calls;
  for (int i = 0; i < 4; ++i) {
    calls.push_back(spawn(fmt::format("p{}", i)).call<&Probe::add>(i));
  }
  EXPECT_EQ(get_all(calls), (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(Actor, UsesWhatItsProcessProvides) {
  int device = 7;
  other.provide(device);
  EXPECT_EQ(&other.resource<int>(), &device);
  EXPECT_THROW((void)system.resource<int>(), InternalError);
}

TEST(ActorSystem, RecordsCallsInATrace) {
  register_probe();
  Trace trace(3);
  trace.enable();
  InProcessNetwork network(1);
  {
    ActorSystem system(network.node(0), {.trace = &trace});
    const auto probe = system.spawn<Probe>({.name = "p"}, ProbeOptions{});
    EXPECT_EQ(probe.call<&Probe::add>(1).get(), 1);
    system.shutdown();
  }
  const auto path = std::filesystem::temp_directory_path() / fmt::format("calls-{}", ::getpid());
  trace.write(path);
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::filesystem::remove(path);
  EXPECT_NE(text.find("p.add"), std::string::npos) << text;
}

TEST(ActorSystem, ShutdownEndsActorsThatWaitForEachOther) {
  register_probe();
  Probe::released_ = false;
  InProcessNetwork network(2);
  ActorSystem system(network.node(0));
  ActorSystem other(network.node(1));
  std::thread runner([&] { other.run_until_shutdown(); });
  const auto held = system.spawn<Probe>({.name = "held", .node = 0}, ProbeOptions{});
  const auto waiting = system.spawn<Probe>({.name = "waiting", .node = 1}, ProbeOptions{});
  (void)held.call<&Probe::hold>();
  const Future<int> stuck = waiting.call<&Probe::add_through>(held, 1);
  std::thread release([] {
    std::this_thread::sleep_for(milliseconds(50));
    Probe::released_ = true;
  });
  system.shutdown(milliseconds(5000));
  runner.join();
  release.join();
  // Either node may be the first to give up.
  EXPECT_TRUE(message_of<TransportError>([&] {
                (void)stuck.get();
              }).starts_with("the actor system is shutting down"));
}

}  // namespace
}  // namespace desta::runtime::testing
