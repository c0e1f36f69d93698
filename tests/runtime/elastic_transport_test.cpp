// What becomes of messages and calls to workers that are gone.
#include "runtime/transport/elastic_transport.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "cluster_under_test.h"
#include "runtime/actor/actor_system.h"
#include "tests/runtime/join_support.h"

namespace desta::runtime::testing {
namespace {

// Node 0's: a loss is told as late as the test says.
class LateNews : public ElasticTransport {
 public:
  using ElasticTransport::ElasticTransport;
  void on_lost(LostHandler handler) override {
    ElasticTransport::on_lost(
        [this, handler = std::move(handler)](int node, const std::string& why) {
          noticed = true;
          told.wait(false);
          handler(node, why);
        });
  }
  void tell() {
    told = true;
    told.notify_all();
  }

  std::atomic<bool> noticed = false;
  std::atomic<bool> told = false;
};

class Elastic : public ::testing::Test {
 protected:
  void listen(ElasticTransport& transport) {
    transport.listen({"127.0.0.1:0"}, token_, quick_options());
    address_ = transport.addresses().front();
  }

  TemporaryFolder folder_;
  JoinToken token_ = JoinToken::create(folder_ / "token");
  std::string address_;
};

TEST_F(Elastic, MessageForAWorkerThatIsGoneHarmsNobody) {
  InProcessNetwork network(2);
  ElasticTransport first(network.node(0));
  ElasticTransport second(network.node(1));
  Diary diary;
  first.on_lost([&](int node, const std::string& why) { diary.lost(node, why); });
  first.start([&](Message message) { diary.message(std::move(message)); });
  second.start([](Message) {});
  listen(first);
  JoinLink stays(address_, token_, "", quick_options());
  JoinLink leaves(address_, token_, "", quick_options());
  const int gone = leaves.node();
  leaves.stop();
  ASSERT_TRUE(diary.wait_lost(1));
  second.send(text_message(1, gone, "of a rank"));
  second.send(text_message(1, 0, "the rank is here"));
  stays.send(text_message(stays.node(), gone, "of a worker"));
  stays.send(text_message(stays.node(), 0, "the worker is here"));
  EXPECT_NO_THROW(first.send(text_message(0, gone, "of node 0")));
  EXPECT_THROW(first.send(text_message(0, gone + 1, "to nobody")), TransportError);
  ASSERT_TRUE(diary.wait_messages(2));
  EXPECT_EQ(diary.losses().size(), 1U);
  second.stop();
  first.stop();
}

// Between the end of a worker's connection and the news of it.
TEST_F(Elastic, CallsOfTheLastMomentFailOrAreSentAgainAsThoseBefore) {
  register_probe();
  InProcessNetwork network(1);
  LateNews transport(network.node(0));
  ActorSystem system(transport);
  listen(transport);
  JoinedTransport link(address_, token_, quick_options());
  ActorSystem worker(link);
  std::thread runner([&] { EXPECT_THROW(worker.run_until_shutdown(), TransportError); });
  ASSERT_TRUE(eventually([&] { return system.nodes().size() == 2; }));
  const auto probe =
      system.spawn<Probe>({.node = link.node(), .max_restarts = 1}, ProbeOptions{.start = 10});
  EXPECT_EQ(probe.call<&Probe::add>(1).get(), 11);
  link.stop();
  ASSERT_TRUE(eventually([&] { return transport.noticed.load(); }));
  const auto once = probe.call<&Probe::add>(1);
  const auto again = probe.with({.max_task_retries = 1}).call<&Probe::add>(2);
  transport.tell();
  EXPECT_THROW((void)once.get(), ActorUnavailable);
  EXPECT_EQ(again.get(), 12) << "on node 0, anew";
  worker.job_lost("it was cut off");
  runner.join();
  system.shutdown();
}

// The call that it is in is answered; those that wait in its queue are told of the loss.
TEST_F(Elastic, WorkerThatLeavesLosesNoCallThatMayBeSentAgain) {
  register_probe();
  InProcessNetwork network(1);
  ElasticTransport transport(network.node(0));
  ActorSystem system(transport);
  listen(transport);
  JoinedTransport link(address_, token_, quick_options());
  ActorSystem worker(link);
  std::atomic<bool> leave = false;
  std::thread runner(
      [&] { EXPECT_FALSE(worker.run_until_shutdown([&] { return leave.load(); })); });
  ASSERT_TRUE(eventually([&] { return system.nodes().size() == 2; }));
  const auto probe =
      system.spawn<Probe>({.node = link.node(), .max_restarts = 1}, ProbeOptions{.start = 10});
  Probe::released_ = false;
  const auto under_way = probe.call<&Probe::hold>();
  const auto once = probe.call<&Probe::add>(1);
  const auto again = probe.with({.max_task_retries = 1}).call<&Probe::add>(2);
  ASSERT_TRUE(eventually([&] {
    const auto actors = worker.describe();
    return std::ranges::any_of(actors, [](const auto& info) { return info.running == "hold"; });
  }));
  leave = true;
  ASSERT_TRUE(eventually([&] {
    try {
      (void)worker.spawn<Probe>({.node = link.node()}, ProbeOptions{});
      return false;
    } catch (const TransportError&) {
      return true;  // it is on its way out
    }
  }));
  Probe::released_ = true;
  EXPECT_NO_THROW(under_way.get());
  EXPECT_THROW((void)once.get(), ActorUnavailable);
  EXPECT_EQ(again.get(), 12) << "on node 0, anew";
  runner.join();
  system.shutdown();
}

TEST_F(Elastic, SpawnOnAWorkerThatNeverWasIsRefusedOnEveryNode) {
  register_probe();
  InProcessNetwork network(2);
  ElasticTransport first(network.node(0));
  ElasticTransport second(network.node(1));
  ActorSystem system(first);
  ActorSystem other(second);
  listen(first);
  std::thread runner([&] { other.run_until_shutdown(); });
  for (ActorSystem* const from : {&system, &other}) {
    for (const char* const name : {"", "p"}) {
      const std::string message = message_of<InternalError>(
          [&] { (void)from->spawn<Probe>({.name = name, .node = 7}, ProbeOptions{}); });
      EXPECT_TRUE(message.ends_with("there is no node 7: the job has 2")) << message;
    }
  }
  system.shutdown();
  runner.join();
}

TEST_F(Elastic, AnswerThatIsTooLongIsAnError) {
  register_probe();
  InProcessNetwork network(1);
  ElasticTransport transport(network.node(0));
  ActorSystem system(transport);
  listen(transport);
  JoinOptions narrow = quick_options();
  narrow.max_body = 4096;
  JoinedTransport link(address_, token_, narrow);
  ActorSystem worker(link);
  std::thread runner([&] { worker.run_until_shutdown(); });
  ASSERT_TRUE(eventually([&] { return system.nodes().size() == 2; }));
  const auto probe = system.spawn<Probe>({.node = link.node()}, ProbeOptions{});
  std::vector<Future<void>> done;
  for (int number = 0; number < 900; ++number) {
    done.push_back(probe.call<&Probe::append>(number));
  }
  wait_all(done);
  EXPECT_EQ(probe.call<&Probe::numbers>().get().size(), 900U);
  for (int number = 0; number < 900; ++number) {
    done.push_back(probe.call<&Probe::append>(number));
  }
  wait_all(done);
  const std::string message = message_of<TransportError>(
      [&] { (void)probe.call<&Probe::numbers>().get(std::chrono::seconds(60)); });
  EXPECT_NE(message.find("a message of 72"), std::string::npos) << message;
  EXPECT_NE(message.find("method numbers"), std::string::npos) << message;
  EXPECT_EQ(probe.call<&Probe::add>(1).get(), 1) << "and the actor goes on";
  system.shutdown();
  runner.join();
}

}  // namespace
}  // namespace desta::runtime::testing
