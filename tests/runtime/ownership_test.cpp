// Who ends with whom, what escalates, and how an actor ends and starts anew.
#include <mutex>

#include "cluster_under_test.h"

namespace desta::runtime::testing {
namespace {

// Has children, may fail, and may be held in a method.
class Parent {
 public:
  explicit Parent(int generation) : generation_(generation) {
    ++constructions;
    if (fail_constructions > 0) {
      --fail_constructions;
      throw ModelError("the weights are not there yet");
    }
    if (spawn_in_constructor.exchange(false)) {
      (void)current_system().spawn<Parent>({.name = current_actor().name + "/made"}, 1);
    }
  }
  ~Parent() { ++destructions; }

  ActorRef<Parent> spawn_child(const SpawnOptions& options) {
    return current_system().spawn<Parent>(options, generation_ + 1);
  }
  int generation() { return generation_; }
  void fail() { throw DataError("record 7 is empty"); }
  int hold() {
    gate.pass_at_all_costs();
    return generation_;
  }
  bool hold_until_told() { return gate.pass(); }

  static inline Gate gate;
  static inline std::atomic<int> constructions = 0;
  static inline std::atomic<int> destructions = 0;
  static inline std::atomic<int> fail_constructions = 0;
  static inline std::atomic<bool> spawn_in_constructor = false;

 private:
  int generation_;
};

class Ownership : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    actor_type<Parent>("Parent")
        .constructor<int>()
        .concurrency_group("side")
        .method<&Parent::spawn_child>("spawn_child")
        .method<&Parent::generation>("generation")
        .method<&Parent::fail>("fail")
        .method<&Parent::hold>("hold")
        .method<&Parent::hold_until_told>("hold_until_told", "side");
  }
  Ownership() {
    Parent::gate.reset();
    Parent::constructions = Parent::destructions = Parent::fail_constructions = 0;
    Parent::spawn_in_constructor = false;
  }
  ~Ownership() override { Parent::gate.open(); }

  ActorRef<Parent> spawn(SpawnOptions options) { return cluster_[0].spawn<Parent>(options, 0); }
  static ActorRef<Parent> child(const ActorRef<Parent>& owner, SpawnOptions options) {
    const auto made = owner.call<&Parent::spawn_child>(options).get();
    made.ready().get();
    return made;
  }
  bool dies(const std::string& name) { return cluster_.becomes(name, ActorState::kDead); }
  // So that a mistaken end would have shown.
  bool lives(const ActorRef<Parent>& actor) {
    return actor.call<&Parent::generation>().error() == std::nullopt &&
           actor.call<&Parent::generation>().get() >= 0;
  }

  Cluster cluster_{{{}, {}}};
};

TEST_F(Ownership, ChildrenOnAllNodesAndTheirChildrenEndWithTheirOwner) {
  const auto owner = spawn({.name = "owner", .node = 1});
  (void)child(owner, {.name = "near", .node = 1});
  const auto far = child(owner, {.name = "far", .node = 0});
  (void)child(far, {.name = "grandchild", .node = 1});
  (void)child(owner, {.node = 0});  // without a name
  const auto free = child(owner, {.name = "free", .node = 0, .lifetime = Lifetime::kDetached});
  cluster_[0].kill(owner);
  for (const std::string name : {"owner", "near", "far", "grandchild"}) {
    EXPECT_TRUE(dies(name)) << name;
  }
  EXPECT_TRUE(eventually([] { return Parent::destructions == 5; })) << "the nameless too";
  EXPECT_TRUE(lives(free));
  EXPECT_EQ(cluster_.info("near").death_cause, "its owner owner has ended");
  EXPECT_EQ(cluster_.info("near").owner, "owner");
  EXPECT_EQ(cluster_.info("owner").death_cause, "the actor was killed");
}

TEST_F(Ownership, ChildrenEndWhenTheirOwnerTerminatesOrRestarts) {
  const auto one = spawn({.name = "one"});
  (void)child(one, {.name = "one/child", .node = 1});
  one.terminate().get();
  EXPECT_TRUE(dies("one/child"));
  EXPECT_EQ(cluster_.info("one").death_cause, "it was asked to end");
  const auto two = spawn({.name = "two",
                          .max_restarts = 1,
                          .restart_backoff = std::chrono::milliseconds(1)});
  const auto stray = child(two, {.name = "two/child", .node = 1});
  EXPECT_THROW(two.call<&Parent::fail>().get(), DataError);
  EXPECT_TRUE(dies("two/child"));
  EXPECT_TRUE(lives(two));
  EXPECT_THROW((void)stray.call<&Parent::generation>().get(), ActorDied);
}

TEST_F(Ownership, ChildThatAConstructorMadeEndsWithItsOwner) {
  Parent::spawn_in_constructor = true;
  const auto owner = spawn({.name = "owner"});
  owner.ready().get();
  cluster_[0].kill(owner);
  EXPECT_TRUE(dies("owner/made"));
}

TEST_F(Ownership, EscalatingChildRestartsItsOwnerOrKillsIt) {
  for (const int node : {0, 1}) {
    const std::string name = fmt::format("owner{}", node);
    const auto owner = spawn({.name = name,
                              .max_restarts = 1,
                              .restart_backoff = std::chrono::milliseconds(1)});
    const SpawnOptions options{.node = node, .max_restarts = 1,
                               .restart_backoff = std::chrono::milliseconds(1)};
    SpawnOptions escalating = options;
    escalating.escalate = true;
    for (const std::uint64_t expected : {1U, 1U}) {  // restarted, then dead
      const auto bad = child(owner, escalating);
      EXPECT_THROW(bad.call<&Parent::fail>().get(), DataError) << "its own restart comes first";
      EXPECT_THROW(bad.call<&Parent::fail>().get(), DataError);
      if (cluster_.info(name).restarts == 0) {
        EXPECT_TRUE(eventually([&] { return cluster_.info(name).restarts == expected; }));
        EXPECT_TRUE(lives(owner));
        EXPECT_EQ(cluster_.info(name).restarts, 1U);
      }
    }
    EXPECT_TRUE(dies(name));
    const std::string cause = cluster_.info(name).death_cause;
    EXPECT_NE(cause.find("record 7 is empty"), std::string::npos) << cause;
    try {
      (void)owner.call<&Parent::generation>().get();
      FAIL();
    } catch (const ActorDied& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData) << "the first cause's";
    }
  }
}

TEST_F(Ownership, EndThatWasAskedForDoesNotEscalate) {
  const auto owner = spawn({.name = "owner", .max_restarts = -1});
  const auto asked = child(owner, {.name = "asked", .escalate = true});
  const auto killed = child(owner, {.name = "killed", .node = 1, .escalate = true});
  asked.terminate().get();
  cluster_[0].kill(killed);
  EXPECT_TRUE(dies("killed"));
  // Its owner's restart ends a child, which does not make the owner restart again.
  const auto held = child(owner, {.name = "held", .node = 1, .escalate = true});
  const Future<int> call = held.call<&Parent::hold>();
  ASSERT_TRUE(eventually([] { return Parent::gate.inside() == 1; }));
  EXPECT_THROW(owner.call<&Parent::fail>().get(), DataError);
  EXPECT_TRUE(lives(owner));
  Parent::gate.open();
  EXPECT_EQ(call.get(), 1) << "the call that runs may finish";
  EXPECT_TRUE(dies("held"));
  EXPECT_TRUE(lives(owner));
  EXPECT_EQ(cluster_.info("owner").restarts, 1U);
}

TEST_F(Ownership, ProgramHearsOfTheDeathOfItsEscalatingActors) {
  std::mutex mutex;
  std::vector<RemoteError> heard;
  cluster_[0].on_escalation([&](const RemoteError& error) {
    const std::lock_guard lock(mutex);
    heard.push_back(error);
  });
  const auto count = [&] {
    const std::lock_guard lock(mutex);
    return heard.size();
  };
  Parent::fail_constructions = 1;
  (void)spawn({.name = "a", .node = 1, .escalate = true});
  EXPECT_TRUE(eventually([&] { return count() == 1; }));
  (void)spawn({.name = "quiet", .node = 1}).call<&Parent::fail>().error();
  EXPECT_EQ(heard[0].actor, "a");
  EXPECT_EQ(heard[0].kind, ErrorKind::kModel);
  EXPECT_NE(heard[0].message.find("weights are not there"), std::string::npos);
  EXPECT_EQ(count(), 1U);
}

TEST_F(Ownership, KillFailsTheCallsThatWaitAndLetsTheOneThatRunsFinish) {
  const auto actor = spawn({.name = "a", .node = 1});
  const Future<int> running = actor.call<&Parent::hold>();
  const Future<bool> told = actor.call<&Parent::hold_until_told>();
  ASSERT_TRUE(eventually([] { return Parent::gate.inside() == 2; }));
  const Future<int> waiting = actor.call<&Parent::generation>();
  cluster_[0].kill(actor);
  EXPECT_EQ(message_of<ActorDied>([&] { (void)waiting.get(); }),
            "the actor was killed (in actor a, method generation)");
  EXPECT_TRUE(told.get()) << "call_is_cancelled() is true";
  EXPECT_FALSE(running.ready());
  EXPECT_EQ(Parent::destructions, 0) << "its object is in use";
  Parent::gate.open();
  EXPECT_EQ(running.get(), 0);
  EXPECT_TRUE(eventually([] { return Parent::destructions == 1; }));
}

TEST_F(Ownership, TerminateWaitsForTheCallsBeforeItAndForTheEnd) {
  for (const int node : {0, 1}) {
    const auto actor = spawn({.name = "a", .node = node});
    std::vector<Future<int>> before;
    for (int i = 0; i < 50; ++i) {
      before.push_back(actor.call<&Parent::generation>());
    }
    const Future<void> end = actor.terminate();
    const Future<int> after = actor.call<&Parent::generation>();
    const Future<void> again = actor.terminate();
    end.get();
    EXPECT_EQ(Parent::destructions, 2 * node + 1) << "the object is gone when it is answered";
    EXPECT_TRUE(wait(before, WaitFor::kAll));
    for (const auto& call : before) {
      EXPECT_EQ(call.get(), 0);
    }
    EXPECT_THROW((void)after.get(), ActorDied);
    EXPECT_NO_THROW(again.get());
    EXPECT_NO_THROW(actor.terminate().get()) << "ended already";
    const auto next = cluster_[1].spawn<Parent>({.name = "a"}, 3);  // the name is free
    EXPECT_EQ(next.call<&Parent::generation>().get(), 3);
    next.terminate().get();
  }
}

TEST_F(Ownership, RestartsAreCountedWithinTheirWindowOnly) {
  using std::chrono::milliseconds;
  const auto ever = spawn({.name = "ever", .max_restarts = 2, .restart_backoff = milliseconds(1)});
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW(ever.call<&Parent::fail>().get(), DataError);
  }
  EXPECT_THROW((void)ever.call<&Parent::generation>().get(), ActorDied);
  const auto window = spawn({.name = "window",
                             .max_restarts = 1,
                             .restart_window = milliseconds(1),
                             .restart_backoff = milliseconds(5)});
  for (int i = 0; i < 5; ++i) {  // each is out of the window by the time of the next
    EXPECT_THROW(window.call<&Parent::fail>().get(), DataError);
    EXPECT_EQ(window.call<&Parent::generation>().get(), 0);
  }
  EXPECT_EQ(cluster_.info("window").restarts, 5U);
  const auto always = spawn({.name = "always",
                             .max_restarts = -1,
                             .restart_backoff = milliseconds(0),
                             .max_restart_backoff = milliseconds(0)});
  for (int i = 0; i < 40; ++i) {
    EXPECT_THROW(always.call<&Parent::fail>().get(), DataError);
  }
  EXPECT_TRUE(lives(always));
  EXPECT_EQ(cluster_.info("always").restarts, 40U);
}

TEST_F(Ownership, ConstructorThatFailsAtARestartCountsAsAnotherFailure) {
  const auto actor = spawn({.name = "a",
                            .max_restarts = 3,
                            .restart_backoff = std::chrono::milliseconds(1)});
  actor.ready().get();
  Parent::fail_constructions = 2;
  EXPECT_THROW(actor.call<&Parent::fail>().get(), DataError);
  EXPECT_TRUE(lives(actor));
  EXPECT_EQ(cluster_.info("a").restarts, 3U);
  EXPECT_EQ(Parent::constructions, 4);
  Parent::fail_constructions = 1;
  EXPECT_THROW(actor.call<&Parent::fail>().get(), DataError);
  EXPECT_THROW((void)actor.call<&Parent::generation>().get(), ActorDied);
}

TEST_F(Ownership, ActorThatWaitsForItsRestartCanBeEnded) {
  using std::chrono::hours;
  const SpawnOptions options{.name = "a",
                             .node = 1,
                             .max_restarts = 5,
                             .restart_backoff = hours(1),
                             .max_restart_backoff = hours(10)};
  const auto actor = spawn(options);
  EXPECT_THROW(actor.call<&Parent::fail>().get(), DataError);
  EXPECT_TRUE(cluster_.becomes("a", ActorState::kRestarting));
  const Future<int> waiting = actor.call<&Parent::generation>();
  cluster_[0].kill(actor);
  EXPECT_THROW((void)waiting.get(), ActorDied);
  EXPECT_TRUE(eventually([&] {  // the name is free
    try {
      (void)spawn(options);
      return true;
    } catch (const InternalError&) {
      return false;
    }
  }));
}

}  // namespace
}  // namespace desta::runtime::testing
