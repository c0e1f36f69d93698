// Several nodes: who is placed where, and what is left when one of them is lost.
#include <numeric>

#include "cluster_under_test.h"
#include "runtime/actor/node_agent.h"

namespace desta::runtime::testing {
namespace {

class Cook {
 public:
  int number() { return 4; }
  void note(int number) { numbers_.push_back(number); }
  std::vector<int> numbers() { return numbers_; }
  void hold() { gate.pass(); }
  int ask(const ActorRef<Cook>& other) { return other.call<&Cook::number>().get(); }
  ActorRef<Cook> spawn_child(const SpawnOptions& options) {
    return current_system().spawn<Cook>(options);
  }

  static inline Gate gate;

 private:
  std::vector<int> numbers_;
};

ActorSystemOptions node_with(const std::string& host, double cpu, double gpu) {
  ActorSystemOptions options;
  options.host = host;
  options.resources = {.cpu = cpu, .gpu = gpu, .memory = 1000};
  return options;
}

class ClusterTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    actor_type<Cook>("Cook")
        .constructor<>()
        .concurrency_group("side")
        .method<&Cook::number>("number")
        .method<&Cook::note>("note")
        .method<&Cook::numbers>("numbers")
        .method<&Cook::hold>("hold", "side")
        .method<&Cook::ask>("ask")
        .method<&Cook::spawn_child>("spawn_child");
  }
  ClusterTest() { Cook::gate.reset(); }
  ~ClusterTest() override { Cook::gate.open(); }

  ActorRef<Cook> spawn(SpawnOptions options) { return cluster_[0].spawn<Cook>(std::move(options)); }
  // One that may move, at once.
  static SpawnOptions mobile(const std::string& name, int node, int retries = 0) {
    return {.name = name,
            .node = node,
            .max_restarts = 2,
            .restart_backoff = std::chrono::milliseconds(1),
            .max_task_retries = retries};
  }
  Resources free_of(int node) {
    return cluster_[0].nodes().at(static_cast<std::size_t>(node)).free;
  }
  bool has_free(int node, double cpu, double gpu) {
    return eventually([=, this] { return free_of(node) == Resources{cpu, gpu, 1000}; });
  }
  // Returns when node 0 and the others know that it is lost.
  void lose(int node) {
    cluster_.lose(node);
    ASSERT_TRUE(eventually([&] {
      return cluster_[0].nodes().at(static_cast<std::size_t>(node)).state == NodeState::kDead;
    }));
    (void)cluster_[0].describe();  // comes to the others after the news
  }

  Cluster cluster_{{node_with("a", 4, 0), node_with("a", 4, 2), node_with("b", 4, 2)}};
};

TEST_F(ClusterTest, ActorsGoWhereTheirResourcesAreAndGiveThemBack) {
  const SpawnOptions one_gpu{.resources = {.gpu = 1}};
  std::vector<ActorRef<Cook>> cooks;
  for (int i = 0; i < 4; ++i) {
    cooks.push_back(spawn(one_gpu));
    EXPECT_NE(cooks.back().node(), 0);
    EXPECT_EQ(cooks.back().call<&Cook::number>().get(), 4);
  }
  EXPECT_THROW((void)spawn(one_gpu), InsufficientResources);
  EXPECT_EQ(free_of(1), (Resources{4, 0, 1000}));
  EXPECT_THROW((void)cluster_[2].spawn<Cook>({.node = 0, .resources = {.cpu = 5}}),
               InsufficientResources);
  cluster_[0].kill(cooks[0]);
  cooks[1].terminate().get();
  EXPECT_TRUE(eventually([&] { return free_of(1).gpu + free_of(2).gpu == 2; }));
  EXPECT_NO_THROW((void)spawn(one_gpu));
}

TEST_F(ClusterTest, GroupIsReservedWhollyOrNotAtAll) {
  const std::vector<Resources> three(3, Resources{.gpu = 1});
  const PlacementGroup group = cluster_[0].reserve(three, PlacementStrategy::kSpread);
  EXPECT_EQ(group.nodes().size(), 3U);
  EXPECT_THROW((void)cluster_[1].reserve({{.gpu = 1}, {.gpu = 1}}), InsufficientResources);
  EXPECT_EQ(free_of(1).gpu + free_of(2).gpu, 1) << "nothing was taken by the attempt";
  const auto inside = [&](int bundle) {
    return spawn({.resources = {.gpu = 1}, .placement_group = group.id(), .bundle = bundle});
  };
  for (int bundle = 0; bundle < 3; ++bundle) {
    EXPECT_EQ(inside(bundle).node(), group.nodes()[static_cast<std::size_t>(bundle)]);
    EXPECT_THROW((void)inside(bundle), InsufficientResources);
  }
  const auto extra = spawn({.name = "extra", .placement_group = group.id()});
  cluster_[0].release(group);
  EXPECT_TRUE(has_free(1, 4, 2) && has_free(2, 4, 2));
  EXPECT_TRUE(cluster_.becomes("extra", ActorState::kDead));
  EXPECT_THROW((void)inside(0), InternalError);
  EXPECT_NO_THROW((void)cluster_[0].reserve({{.gpu = 2}, {.gpu = 2}},
                                            PlacementStrategy::kStrictSpread));
}

TEST_F(ClusterTest, CallsToALostNodeFailAndLaterOnesSayThatTheActorDied) {
  const auto cook = spawn({.name = "cook", .node = 2});
  const auto asker = spawn({.node = 1});
  const Future<void> held = cook.call<&Cook::hold>();
  ASSERT_TRUE(eventually([] { return Cook::gate.inside() == 1; }));
  cluster_.cut_off(2);
  const Future<int> sent = cook.call<&Cook::number>();
  const Future<int> asked = asker.call<&Cook::ask>(cook);
  lose(2);
  EXPECT_THROW(held.get(), ActorUnavailable);
  EXPECT_THROW((void)sent.get(), ActorUnavailable);
  EXPECT_TRUE(eventually([&] { return asked.ready(); }));
  EXPECT_TRUE(asked.error().has_value());
  EXPECT_THROW((void)cook.call<&Cook::number>().get(), ActorDied);
  EXPECT_THROW((void)cluster_[0].get_actor<Cook>("cook"), InternalError) << "the name is free";
  EXPECT_EQ(spawn({.name = "cook", .node = 1}).call<&Cook::number>().get(), 4);
  EXPECT_THROW((void)spawn({.node = 2, .resources = {.cpu = 1}}), InternalError);
}

TEST_F(ClusterTest, ActorThatMayRestartMovesAndIsReachedByItsName) {
  SpawnOptions options = mobile("cook", 2);
  options.resources = {.gpu = 1};
  const auto cook = spawn(options);
  EXPECT_EQ(cook.call<&Cook::number>().get(), 4);
  const auto seen_from_1 = cluster_[1].get_actor<Cook>("cook");
  lose(2);
  EXPECT_EQ(cook.call<&Cook::number>().get(), 4);
  EXPECT_EQ(cook.node(), 1);
  EXPECT_EQ(seen_from_1.call<&Cook::number>().get(), 4);
  EXPECT_EQ(cluster_[0].get_actor<Cook>("cook").call<&Cook::number>().get(), 4);
  EXPECT_TRUE(has_free(1, 4, 1));
  EXPECT_EQ(cluster_.info("cook").restarts, 1U);
  cook.terminate().get();
  EXPECT_TRUE(has_free(1, 4, 2));
  EXPECT_THROW((void)cook.call<&Cook::number>().get(), ActorDied);
}

// Whoever calls the agent of its own node runs it on its own thread: messages find it busy then.
TEST_F(ClusterTest, CallsRightBehindTheSpawnFindTheActorWhileAnotherThreadRunsTheAgent) {
  std::vector<ActorRef<Cook>> idle;  // they make the agent's description take a while
  for (int i = 0; i < 300; ++i) {
    idle.push_back(spawn({.node = 2}));
  }
  const std::jthread busy([&](const std::stop_token& over) {
    while (!over.stop_requested()) {
      (void)detail::agent_ref(cluster_[2].core(), 2).call<&detail::NodeAgent::describe>().get();
    }
  });
  std::vector<int> expected(20);
  std::iota(expected.begin(), expected.end(), 0);
  for (int round = 0; round < 200; ++round) {
    const auto cook = spawn({.node = 2});
    for (const int number : expected) {
      (void)cook.call<&Cook::note>(number);
    }
    EXPECT_EQ(cook.call<&Cook::numbers>().get(), expected);
    cook.terminate().get();
  }
}

TEST_F(ClusterTest, RetriedCallsKeepTheirOrderAndComeBeforeNewOnes) {
  const auto cook = spawn(mobile("cook", 2, 3));
  cook.ready().get();
  cluster_.cut_off(2);
  std::vector<int> expected;
  std::vector<Future<void>> notes;
  for (int i = 0; i < 200; ++i) {
    if (i == 100) {
      cluster_.lose(2);
    }
    notes.push_back(cook.call<&Cook::note>(i));
    expected.push_back(i);
  }
  EXPECT_EQ(cook.call<&Cook::numbers>().get(), expected);
  EXPECT_NO_THROW(wait_all(notes));
}

TEST_F(ClusterTest, WithoutRetriesCallsThatWereOutFailAndLaterOnesArrive) {
  const auto cook = spawn(mobile("cook", 2));
  cook.ready().get();
  cluster_.cut_off(2);
  const Future<void> out = cook.call<&Cook::note>(1);
  lose(2);
  EXPECT_THROW(out.get(), ActorUnavailable);
  EXPECT_EQ(cook.with({.max_task_retries = 1}).call<&Cook::number>().get(), 4);
}

TEST_F(ClusterTest, ReferencesPackedBeforeTheLossReachTheActorWhereItIs) {
  const auto cook = spawn(mobile("cook", 2));
  cook.ready().get();
  WireWriter packed;
  packed(cook);
  const auto read = [&](int node) {
    ActorRef<Cook> reference;
    WireReader reader(packed.bytes(), {}, &cluster_[node]);
    reader(reference);
    return reference;
  };
  lose(2);
  EXPECT_EQ(read(1).call<&Cook::number>().get(), 4) << "whether it has moved already or not";
  EXPECT_EQ(read(0).call<&Cook::number>().get(), 4);
  cook.terminate().get();
  EXPECT_THROW((void)read(1).call<&Cook::number>().get(), ActorDied);
}

TEST_F(ClusterTest, ReferenceToAnActorThatEndedBeforeItsNodeSaysSo) {
  const auto cook = spawn(mobile("cook", 2));
  cook.terminate().get();
  lose(2);
  EXPECT_THROW((void)cook.call<&Cook::number>().get(), ActorDied);
}

TEST_F(ClusterTest, ActorThatIsKilledBetweenTwoNodesDoesNotComeBack) {
  SpawnOptions options = mobile("cook", 2);
  options.restart_backoff = options.max_restart_backoff = std::chrono::hours(1);
  const auto cook = spawn(options);
  cook.ready().get();
  lose(2);
  const Future<int> waiting = cook.call<&Cook::number>();
  cluster_[0].kill(cook);
  EXPECT_THROW((void)waiting.get(), ActorDied);
  EXPECT_EQ(spawn({.name = "cook"}).call<&Cook::number>().get(), 4) << "its name is free";
}

TEST_F(ClusterTest, OrphansOfALostNodeEnd) {
  const auto owner = spawn({.name = "owner", .node = 2});
  const auto child = owner.call<&Cook::spawn_child>(SpawnOptions{.name = "child", .node = 1}).get();
  SpawnOptions detached{.name = "detached", .node = 1};
  detached.lifetime = Lifetime::kDetached;
  const auto free = owner.call<&Cook::spawn_child>(detached).get();
  lose(2);
  EXPECT_TRUE(cluster_.becomes("child", ActorState::kDead));
  EXPECT_NE(cluster_.info("child").death_cause.find("node 2 was lost"), std::string::npos);
  EXPECT_EQ(free.call<&Cook::number>().get(), 4);
}

TEST_F(ClusterTest, LostChildEscalatesToItsOwner) {
  for (const std::string name : {"", "child"}) {
    Cluster cluster({node_with("a", 4, 0), node_with("b", 4, 0), node_with("c", 4, 0)});
    const auto owner = cluster[0].spawn<Cook>({.name = "owner", .node = 1, .max_restarts = -1});
    (void)owner.call<&Cook::spawn_child>(SpawnOptions{.name = name, .node = 2, .escalate = true})
        .get();
    cluster.lose(2);
    EXPECT_TRUE(eventually([&] { return cluster.info("owner").restarts == 1; })) << name;
  }
}

TEST_F(ClusterTest, NodeThatIsLostWhileAnActorStartsAnewThereIsNotItsLast) {
  for (int round = 0; round < 20; ++round) {
    Cluster cluster({node_with("a", 4, 0), node_with("b", 4, 1), node_with("c", 4, 1)});
    const auto cook = cluster[0].spawn<Cook>({.node = 2,
                                              .resources = {.cpu = 4},
                                              .max_restarts = -1,
                                              .restart_backoff = std::chrono::milliseconds(0)});
    cook.ready().get();
    cluster.cut_off(1);
    const auto filler = cluster[0].spawn<Cook>({.node = 0, .resources = {.cpu = 1}});
    cluster.lose(2);  // it can only go to node 1, which does not answer
    ASSERT_TRUE(eventually([&] { return cluster[0].nodes()[1].free.cpu == 0; }));
    const Future<int> waiting = cook.call<&Cook::number>();
    filler.terminate().get();
    cluster.lose(1);
    EXPECT_EQ(waiting.get(), 4);
    EXPECT_EQ(cook.node(), 0);
  }
}

TEST_F(ClusterTest, PendingCallsBeyondTheirLimitFailOrWait) {
  for (const int node : {0, 2}) {
    Cook::gate.reset();
    const auto cook = spawn({.node = node, .max_pending_calls = 2});
    const auto patient = cook.with({.wait_for_room = true});
    const Future<void> first = cook.call<&Cook::hold>();
    const Future<void> second = cook.call<&Cook::hold>();
    EXPECT_THROW(cook.call<&Cook::hold>().get(), PendingCallsLimitExceeded);
    std::atomic<bool> through = false;
    std::thread caller([&] {
      EXPECT_EQ(patient.call<&Cook::number>().get(), 4);
      through = true;
    });
    EXPECT_FALSE(through);
    Cook::gate.open();
    caller.join();
    EXPECT_TRUE(through);
  }
}

}  // namespace
}  // namespace desta::runtime::testing
