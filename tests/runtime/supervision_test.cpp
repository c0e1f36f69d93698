// Mailbox bounds, restarts, death, and what describe() tells of them.
#include <algorithm>

#include "two_nodes.h"

namespace desta::runtime::testing {
namespace {

class Supervision : public TwoNodes {
 protected:
  ActorInfo info(const std::string& name) {
    const std::vector<ActorInfo> all = system.describe();
    const auto found = std::ranges::find(all, name, &ActorInfo::name);
    return found == all.end() ? ActorInfo{} : *found;
  }
};

TEST_F(Supervision, MailboxRefusesTheCallAfterItsLimit) {
  const auto probe = spawn("p", {.max_pending_calls = 3});
  std::vector<Future<void>> accepted;
  for (int i = 0; i < 3; ++i) {
    accepted.push_back(probe.call<&Probe::hold>());
  }
  EXPECT_THROW(probe.call<&Probe::hold>().get(std::chrono::seconds(5)), PendingCallsLimitExceeded);
  Probe::released_ = true;
  EXPECT_NO_THROW(wait_all(accepted));
  EXPECT_NO_THROW(probe.call<&Probe::hold>().get()) << "room again once calls are done";
}

TEST_F(Supervision, WithoutRestartsAnErrorLeavesTheActorAsItIs) {
  const auto probe = spawn("p");
  EXPECT_THROW(probe.call<&Probe::fail>("data").get(), DataError);
  EXPECT_EQ(probe.call<&Probe::add>(1).get(), 1'000'001);
  EXPECT_EQ(info("p").failures, 1U);
  EXPECT_EQ(info("p").restarts, 0U);
}

TEST_F(Supervision, RestartMakesTheActorAnewFromTheSameArguments) {
  const auto probe =
      system.spawn<Probe>({.name = "p", .node = 1, .max_restarts = 1}, ProbeOptions{.start = 10});
  EXPECT_THROW(probe.call<&Probe::fail>("data").get(), DataError);
  EXPECT_EQ(probe.call<&Probe::add>(1).get(), 11);
  EXPECT_EQ(info("p").restarts, 1U);
}

TEST_F(Supervision, ActorThatFailsOftenerThanItMayRestartDiesOfThatError) {
  const auto probe = spawn("p", {.max_restarts = 1});
  EXPECT_THROW(probe.call<&Probe::fail>("data").get(), DataError);
  EXPECT_THROW(probe.call<&Probe::fail>("data").get(), DataError);
  try {
    probe.call<&Probe::add>(1).get();
    FAIL() << "a dead actor answered";
  } catch (const ActorDied& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData);
    EXPECT_NE(std::string(error.what()).find("record 7"), std::string::npos);
  }
  EXPECT_EQ(info("p").state, ActorState::kDead);
  EXPECT_EQ(info("p").death_cause, "the actor died in its fail: corpus.jsonl: record 7 has no transcription");
}

TEST_F(Supervision, ActorWhoseConstructorThrowsIsDeadAndSaysWhy) {
  const auto probe = system.spawn<Probe>({.name = "p", .node = 1}, ProbeOptions{.start = -1});
  EXPECT_EQ(message_of<ActorDied>([&] { probe.ready().get(); }),
            "the actor died in its constructor: model.safetensors: tensor 'w' is missing "
            "(in actor p, method ready)");
  EXPECT_EQ(info("p").state, ActorState::kDead);
}

TEST_F(Supervision, DescribeListsTheActorsOfAllNodes) {
  const auto near = system.spawn<Probe>({.name = "near"}, ProbeOptions{});
  const auto far = spawn("far");
  EXPECT_EQ(near.call<&Probe::add>(1).get(), 1);
  EXPECT_EQ(near.call<&Probe::add>(1).get(), 2);
  const Future<void> held = far.call<&Probe::hold>();
  (void)far.call<&Probe::hold>();
  EXPECT_EQ(info("near").node, 0);
  EXPECT_EQ(info("near").calls, 2U);
  EXPECT_EQ(info("near").state, ActorState::kIdle);
  EXPECT_EQ(info("far").node, 1);
  EXPECT_EQ(info("far").type, "Probe");
  EXPECT_EQ(info("far").pending, 2U);
  while (info("far").state == ActorState::kStarting || info("far").state == ActorState::kIdle) {
    std::this_thread::yield();
  }
  EXPECT_EQ(info("far").state, ActorState::kBusy);
}

}  // namespace
}  // namespace desta::runtime::testing
