// The end of a system, whatever its actors are doing.
#include "cluster_under_test.h"

namespace desta::runtime::testing {
namespace {

class Clerk {
 public:
  int work() {
    gate.pass();
    return 1;
  }
  void never() { gate.pass_at_all_costs(); }
  Task<int> wait_for(ActorRef<Clerk> other) { co_return co_await other.call<&Clerk::work>(); }
  int block_on(const ActorRef<Clerk>& other) { return other.call<&Clerk::work>().get(); }
  int quick() { return 1; }
  void fail() { throw DataError("record 7 is empty"); }
  // Spawns until it may no more.
  void spawn_on(int node) {
    for (int i = 0;; ++i) {
      (void)current_system().spawn<Clerk>({.name = i % 2 == 0 ? fmt::format("child{}", i) : "",
                                           .node = node});
      ++spawned;
    }
  }
  // Asks until it may no more, and does not mind errors before.
  Task<void> ask_for_ever(ActorRef<Clerk> other) {
    while (!call_is_cancelled()) {
      try {
        (void)co_await other.call<&Clerk::quick>();
        ++spawned;
      } catch (const Error&) {
      }
    }
  }

  static inline Gate gate;
  static inline std::atomic<int> spawned = 0;
};

class Shutdown : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    actor_type<Clerk>("Clerk")
        .constructor<>()
        .method<&Clerk::work>("work")
        .method<&Clerk::never>("never")
        .method<&Clerk::wait_for>("wait_for")
        .method<&Clerk::block_on>("block_on")
        .method<&Clerk::quick>("quick")
        .method<&Clerk::fail>("fail")
        .method<&Clerk::spawn_on>("spawn_on")
        .method<&Clerk::ask_for_ever>("ask_for_ever");
  }
  Shutdown() {
    Clerk::gate.reset();
    Clerk::spawned = 0;
  }
  ~Shutdown() override { Clerk::gate.open(); }
};

TEST_F(Shutdown, OfAnIdleSystem) {
  const Cluster cluster({{}, {}, {}});
}

TEST_F(Shutdown, WhileCallsRunWaitAndAreSuspended) {
  for (int round = 0; round < 10; ++round) {
    Clerk::gate.reset();
    std::vector<Future<int>> calls;
    Cluster cluster({{}, {}});
    for (const int node : {0, 1}) {
      const auto worker = cluster[0].spawn<Clerk>({.node = node});
      calls.push_back(worker.call<&Clerk::work>());
      calls.push_back(worker.call<&Clerk::work>());
      for (const int other : {0, 1}) {
        const auto suspended = cluster[0].spawn<Clerk>({.node = other});
        calls.push_back(suspended.call<&Clerk::wait_for>(worker));
        calls.push_back(suspended.call<&Clerk::quick>());
        const auto blocked = cluster[0].spawn<Clerk>({.node = other, .own_thread = other == 1});
        calls.push_back(blocked.call<&Clerk::block_on>(worker));
        calls.push_back(blocked.call<&Clerk::quick>());
      }
    }
    ASSERT_TRUE(eventually([] { return Clerk::gate.inside() == 2; }));
    cluster[0].shutdown();
    for (const auto& call : calls) {
      EXPECT_TRUE(call.ready());
    }
    EXPECT_EQ(Clerk::gate.inside(), 0);
  }
}

TEST_F(Shutdown, WhileActorsStartAnew) {
  Cluster cluster({{}, {}});
  std::vector<Future<int>> calls;
  for (const int node : {0, 1}) {
    for (const int backoff : {0, 3'600'000}) {
      const auto actor = cluster[0].spawn<Clerk>(
          {.node = node,
           .max_restarts = -1,
           .restart_backoff = std::chrono::milliseconds(backoff),
           .max_restart_backoff = std::chrono::milliseconds(backoff)});
      for (int i = 0; i < 5; ++i) {
        (void)actor.call<&Clerk::fail>();
      }
      calls.push_back(actor.call<&Clerk::quick>());
    }
  }
  cluster[0].shutdown();
  for (const auto& call : calls) {
    EXPECT_TRUE(call.ready());
  }
}

TEST_F(Shutdown, WhileActorsSpawnActors) {
  for (int round = 0; round < 10; ++round) {
    Clerk::spawned = 0;
    Cluster cluster({{}, {}});
    for (const int node : {0, 1}) {
      (void)cluster[0].spawn<Clerk>({.node = node}).call<&Clerk::spawn_on>(1 - node);
    }
    ASSERT_TRUE(eventually([] { return Clerk::spawned > 20; }));
  }
}

TEST_F(Shutdown, WhileActorsAskEachOtherWithoutEnd) {
  Cluster cluster({{}, {}});
  const auto near = cluster[0].spawn<Clerk>({.node = 0});
  const auto far = cluster[0].spawn<Clerk>({.node = 1});
  for (const int node : {0, 1}) {
    (void)cluster[0].spawn<Clerk>({.node = node}).call<&Clerk::ask_for_ever>(near);
    (void)cluster[0].spawn<Clerk>({.node = node}).call<&Clerk::ask_for_ever>(far);
  }
  ASSERT_TRUE(eventually([] { return Clerk::spawned > 1000; }));
}

TEST_F(Shutdown, ThrowsNamingTheActorAndTheMethodThatDoNotEnd) {
  Cluster cluster({{}, {}});
  const auto stuck = cluster[0].spawn<Clerk>({.name = "stuck"});
  (void)stuck.call<&Clerk::never>();
  ASSERT_TRUE(eventually([] { return Clerk::gate.inside() == 1; }));
  const std::string message = message_of<TransportError>(
      [&] { cluster[0].shutdown(std::chrono::milliseconds(50)); });
  EXPECT_TRUE(message.starts_with("shutdown: actor stuck, method never, for ")) << message;
  EXPECT_NE(message.find("did not end within 0.05 s"), std::string::npos) << message;
  Clerk::gate.open();
}

TEST_F(Shutdown, ThrowsNamingTheNodeThatDoesNotEnd) {
  Cluster cluster({{}, {}});
  const auto stuck = cluster[0].spawn<Clerk>({.name = "stuck", .node = 1});
  (void)stuck.call<&Clerk::never>();
  ASSERT_TRUE(eventually([] { return Clerk::gate.inside() == 1; }));
  const std::string message = message_of<TransportError>(
      [&] { cluster[0].shutdown(std::chrono::milliseconds(50)); });
  EXPECT_EQ(message, "shutdown: node 1 did not end within 0.05 s");
  Clerk::gate.open();
}

TEST_F(Shutdown, DestructorDoesNotWaitForEverForAMethodThatNeverReturns) {
  InProcessNetwork network(1);
  {
    ActorSystem system(network.node(0));
    (void)system.spawn<Clerk>({.name = "stuck"}).call<&Clerk::never>();
    (void)system.spawn<Clerk>({.name = "own", .own_thread = true}).call<&Clerk::never>();
    ASSERT_TRUE(eventually([] { return Clerk::gate.inside() == 2; }));
  }
  EXPECT_EQ(Clerk::gate.inside(), 2) << "they are left behind";
  Clerk::gate.open();
  EXPECT_TRUE(eventually([] { return Clerk::gate.inside() == 0; }));
}

}  // namespace
}  // namespace desta::runtime::testing
