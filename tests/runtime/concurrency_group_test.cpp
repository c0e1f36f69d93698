// Concurrency groups: what may run beside what, and that threads that block do not hold up others.
#include "cluster_under_test.h"

namespace desta::runtime::testing {
namespace {

class Server {
 public:
  bool alive() { return true; }
  void work() { gate.pass_at_all_costs(); }
  // How many were in here at most.
  int read() {
    const int now = ++reading;
    int most = most_reading;
    while (now > most && !most_reading.compare_exchange_weak(most, now)) {
    }
    gate.pass_at_all_costs();
    --reading;
    return now;
  }
  void note(int number) { numbers_.push_back(number); }
  std::vector<int> numbers() { return numbers_; }
  // Waits for `next`, which waits for its own next, and so on to the last.
  int chain(std::vector<ActorRef<Server>> rest) {
    if (rest.empty()) {
      gate.pass_at_all_costs();
      return 1;
    }
    const auto next = rest.back();
    rest.pop_back();
    return 1 + next.call<&Server::chain>(rest).get();
  }
  int ask(const ActorRef<Server>& other) { return other.call<&Server::quick>().get(); }
  int quick() { return 1; }
  int ask_own_group() {
    return current_system().get_actor<Server>(current_actor().name).call<&Server::leaf>().get();
  }
  int leaf() { return 5; }
  // Looks, without waiting, until the other has answered.
  int look_at(const ActorRef<Server>& other) {
    const Future<int> answer = other.call<&Server::quick>();
    while (!answer.ready() && !call_is_cancelled()) {
      std::this_thread::yield();
    }
    return answer.get();
  }

  static inline Gate gate;
  static inline std::atomic<int> reading = 0;
  static inline std::atomic<int> most_reading = 0;

 private:
  std::vector<int> numbers_;
};

// With a thread of its own, and without.
class ConcurrencyGroup : public ::testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    actor_type<Server>("Server")
        .constructor<>()
        .concurrency_group("health")
        .concurrency_group("readers", {.threads = 3})
        .concurrency_group("notes")
        .concurrency_group("pairs", {.threads = 2})
        .method<&Server::alive>("alive", "health")
        .method<&Server::work>("work")
        .method<&Server::read>("read", "readers")
        .method<&Server::note>("note", "notes")
        .method<&Server::numbers>("numbers", "notes")
        .method<&Server::chain>("chain")
        .method<&Server::ask>("ask")
        .method<&Server::quick>("quick")
        .method<&Server::ask_own_group>("ask_own_group", "pairs")
        .method<&Server::leaf>("leaf", "pairs")
        .method<&Server::look_at>("look_at");
  }
  ConcurrencyGroup() {
    Server::gate.reset();
    Server::reading = Server::most_reading = 0;
  }
  ~ConcurrencyGroup() override { Server::gate.open(); }

  ActorRef<Server> spawn(int node = 0) {
    return cluster_[0].spawn<Server>({.node = node, .own_thread = GetParam()});
  }

  Cluster cluster_{{{}, {}}};
};

INSTANTIATE_TEST_SUITE_P(OwnThread, ConcurrencyGroup, ::testing::Bool());

TEST_P(ConcurrencyGroup, HealthCheckIsAnsweredWhileALongMethodRuns) {
  for (const int node : {0, 1}) {
    const auto server = spawn(node);
    const Future<void> work = server.call<&Server::work>();
    ASSERT_TRUE(eventually([=] { return Server::gate.inside() == node + 1; }));
    EXPECT_TRUE(server.call<&Server::alive>().get());
    EXPECT_FALSE(work.ready());
  }
}

TEST_P(ConcurrencyGroup, GroupUsesAllItsThreadsAndNoMore) {
  const auto server = spawn();
  std::vector<Future<int>> reads;
  for (int i = 0; i < 12; ++i) {
    reads.push_back(server.call<&Server::read>());
  }
  EXPECT_TRUE(eventually([] { return Server::gate.inside() == 3; }));
  EXPECT_TRUE(server.call<&Server::alive>().get());
  Server::gate.open();
  (void)get_all(reads);
  EXPECT_EQ(Server::most_reading, 3);
}

TEST_P(ConcurrencyGroup, KeepsOrderWithinAGroupWhileOthersRun) {
  const auto server = spawn(1);
  const Future<void> work = server.call<&Server::work>();
  std::vector<int> expected;
  for (int i = 0; i < 300; ++i) {
    (void)server.call<&Server::note>(i);
    (void)server.call<&Server::alive>();
    expected.push_back(i);
  }
  EXPECT_EQ(server.call<&Server::numbers>().get(), expected);
  EXPECT_FALSE(work.ready());
}

TEST_P(ConcurrencyGroup, MethodMayWaitForItsOwnGroupWhereThatHasAnotherThread) {
  const auto server = cluster_[0].spawn<Server>({.name = "pair", .own_thread = GetParam()});
  EXPECT_EQ(server.call<&Server::ask_own_group>().get(), 5);
}

TEST_P(ConcurrencyGroup, ChainOfBlockedActorsLongerThanThePoolHasThreads) {
  std::vector<ActorRef<Server>> servers;
  for (int i = 0; i < 20; ++i) {
    servers.push_back(spawn(i % 2));
  }
  const auto first = servers.back();
  servers.pop_back();
  const Future<int> length = first.call<&Server::chain>(servers);
  ASSERT_TRUE(eventually([] { return Server::gate.inside() == 1; })) << "the last is reached";
  EXPECT_EQ(spawn().call<&Server::quick>().get(), 1) << "and others go on";
  Server::gate.open();
  EXPECT_EQ(length.get(), 20);
}

TEST_P(ConcurrencyGroup, HundredActorsThatBlockAtOnce) {
  const auto busy = spawn(1);
  const Future<void> work = busy.call<&Server::work>();
  ASSERT_TRUE(eventually([] { return Server::gate.inside() == 1; }));
  std::vector<Future<int>> asks;
  for (int i = 0; i < 100; ++i) {
    asks.push_back(spawn().call<&Server::ask>(busy));
  }
  EXPECT_EQ(spawn().call<&Server::quick>().get(), 1);
  Server::gate.open();
  for (const int one : get_all(asks)) {
    EXPECT_EQ(one, 1);
  }
}

TEST_P(ConcurrencyGroup, MoreMethodsThatNeverYieldThanThePoolHasThreadsDoNotStarveOthers) {
  std::vector<Future<void>> works;
  for (int i = 0; i < 10; ++i) {
    works.push_back(spawn().call<&Server::work>());
  }
  EXPECT_TRUE(eventually([] { return Server::gate.inside() == 10; }));
  // What a busy thread was going to run next is not its own: it never comes to it.
  EXPECT_EQ(spawn().call<&Server::look_at>(spawn()).get(std::chrono::seconds(60)), 1);
  Server::gate.open();
  wait_all(works);
}

}  // namespace
}  // namespace desta::runtime::testing
