// Methods that return a Task: what an actor does while one of them waits.
#include "cluster_under_test.h"

namespace desta::runtime::testing {
namespace {

class Source {
 public:
  int number(int value) { return value; }
  int held(int value) {
    gate.pass_at_all_costs();
    return value;
  }
  void fail() { throw DataError("record 7 is empty"); }

  static inline Gate gate;
};

// Adds what it asks others for.
template <int kCallsAtATime>
class Adder {
 public:
  using Sources = std::vector<ActorRef<Source>>;

  Task<int> sum(Sources sources, int times) {
    int sum = 0;
    for (int i = 0; i < times; ++i) {
      for (const auto& source : sources) {
        sum += co_await source.call<&Source::number>(1);
      }
    }
    co_return sum;
  }
  Task<int> sum_of_tasks(Sources sources) {
    int sum = co_await part(sources[0], 1);
    for (std::size_t i = 1; i < sources.size(); ++i) {
      sum += co_await part(sources[i], static_cast<int>(i) + 1);
    }
    co_return sum;
  }
  Task<int> held(ActorRef<Source> source, int value) {
    ++begun;
    const int answer = co_await source.call<&Source::held>(value);
    order.push_back(value);
    co_return answer;
  }
  // Returns what it was given when its source has answered: a reference must live so long.
  Task<std::string> words(const std::string& first, const std::vector<std::string>& rest,
                          ActorRef<Source> source) {
    (void)co_await source.call<&Source::held>(0);
    std::string all = first;
    for (const std::string& word : rest) {
      all += " " + word;
    }
    co_return all;
  }
  Task<int> fail(const std::string& when, ActorRef<Source> source) {
    if (when == "before") {
      throw ModelError("no weights");
    }
    (void)co_await source.call<&Source::number>(1);
    if (when == "through") {
      co_await source.call<&Source::fail>();
    }
    if (when == "in part") {
      co_await failing_part(source);
    }
    throw ConfigError("after the first answer");
  }
  Task<bool> was_cancelled(ActorRef<Source> source) {
    (void)co_await source.call<&Source::held>(0);
    saw_cancel = call_is_cancelled();
    ended = true;
    co_return saw_cancel;
  }
  Task<int> own_plain() {
    const auto self = current_system().get_actor<Adder>(current_actor().name);
    co_return co_await self.template call<&Adder::plain>();
  }
  int plain() { return 3; }

  static inline std::atomic<int> begun = 0;
  static inline std::atomic<bool> saw_cancel = false;
  static inline std::atomic<bool> ended = false;
  static inline std::vector<int> order;

 private:
  Task<int> part(ActorRef<Source> source, int value) {
    co_return co_await source.call<&Source::number>(value);
  }
  Task<void> failing_part(ActorRef<Source> source) { co_await source.call<&Source::fail>(); }
};

using Single = Adder<1>;
using Many = Adder<8>;

template <typename A>
ActorTypeBuilder<A> register_adder(const std::string& name) {
  return actor_type<A>(name)
      .template constructor<>()
      .template method<&A::sum>("sum")
      .template method<&A::sum_of_tasks>("sum_of_tasks")
      .template method<&A::held>("held")
      .template method<&A::words>("words")
      .template method<&A::fail>("fail")
      .template method<&A::was_cancelled>("was_cancelled")
      .template method<&A::own_plain>("own_plain")
      .template method<&A::plain>("plain");
}

class TaskTest : public ::testing::TestWithParam<int> {
 protected:
  static void SetUpTestSuite() {
    actor_type<Source>("Source")
        .constructor<>()
        .concurrency_group("held", {.threads = 8})
        .method<&Source::number>("number")
        .method<&Source::held>("held", "held")
        .method<&Source::fail>("fail");
    register_adder<Single>("Single");
    register_adder<Many>("Many").default_group({.threads = 1, .calls = 8});
  }
  TaskTest() {
    Source::gate.reset();
    Single::begun = Many::begun = 0;
    Single::saw_cancel = Single::ended = false;
    Many::order.clear();
  }
  ~TaskTest() override { Source::gate.open(); }

  bool sources_hold(int calls) {
    return eventually([=] { return Source::gate.inside() == calls; });
  }

  Cluster cluster_{{{}, {}}};
  // The adder on node 0, what it asks on the same node or another.
  ActorRef<Source> source_ = cluster_[0].spawn<Source>({.node = GetParam()});
  ActorRef<Single> single_ = cluster_[0].spawn<Single>({.name = "adder"});
};

INSTANTIATE_TEST_SUITE_P(AsksNode, TaskTest, ::testing::Values(0, 1));

TEST_P(TaskTest, AwaitsCallsAndTasks) {
  const auto other = cluster_[0].spawn<Source>({.node = 1 - GetParam()});
  EXPECT_EQ(single_.call<&Single::sum>(Single::Sources{source_, other}, 3).get(), 6);
  EXPECT_EQ(single_.call<&Single::sum_of_tasks>(Single::Sources{source_, other, source_}).get(), 6);
}

TEST_P(TaskTest, ManyThousandsOfWaits) {
  const int times = GetParam() == 0 ? 20'000 : 3'000;
  EXPECT_EQ(single_.call<&Single::sum>(Single::Sources{source_}, times).get(), times);
}

TEST_P(TaskTest, ErrorsArriveFromBeforeAndAfterAndThroughAWait) {
  const auto fail = [&](const std::string& when) {
    (void)single_.call<&Single::fail>(when, source_).get();
  };
  EXPECT_EQ(message_of<ModelError>([&] { fail("before"); }),
            "no weights (in actor adder, method fail)");
  EXPECT_EQ(message_of<ConfigError>([&] { fail("after"); }),
            "after the first answer (in actor adder, method fail)");
  for (const std::string when : {"through", "in part"}) {
    const std::string message = message_of<DataError>([&] { fail(when); });
    EXPECT_TRUE(message.starts_with("record 7 is empty (in actor " + source_.name())) << message;
    EXPECT_TRUE(message.ends_with("(in actor adder, method fail)")) << message;
  }
  EXPECT_EQ(single_.call<&Single::plain>().get(), 3);
}

TEST_P(TaskTest, ActorServesNoOtherCallWhileOneWaits) {
  const Future<int> first = single_.call<&Single::held>(source_, 1);
  const Future<int> second = single_.call<&Single::held>(source_, 2);
  const Future<int> plain = single_.call<&Single::plain>();
  ASSERT_TRUE(sources_hold(1));
  EXPECT_FALSE(wait(std::vector{plain}, WaitFor::kAll, std::chrono::milliseconds(20)));
  EXPECT_EQ(Single::begun, 1);
  Source::gate.open();
  EXPECT_EQ(first.get() + second.get() + plain.get(), 6);
}

TEST_P(TaskTest, GroupWithMoreCallsThanThreadsInterleavesThem) {
  const auto many = cluster_[0].spawn<Many>({});
  std::vector<Future<int>> calls;
  for (int value = 0; value < 8; ++value) {
    calls.push_back(many.call<&Many::held>(source_, value));
  }
  const Future<int> ninth = many.call<&Many::plain>();
  ASSERT_TRUE(sources_hold(8)) << "all eight have begun";
  EXPECT_FALSE(ninth.ready()) << "and no more than eight";
  Source::gate.open();
  EXPECT_EQ(get_all(calls), (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(ninth.get(), 3);
  EXPECT_EQ(Many::order.size(), 8U) << "one thread at a time: nothing is lost";
}

TEST_P(TaskTest, ArgumentsTakenByReferenceLiveThroughAWait) {
  const auto call = [&](int number) {
    return single_.call<&Single::words>(
        fmt::format("a long first word, too long to be in place {}", number),
        std::vector<std::string>{"b", "c"}, source_);
  };
  const auto first = call(1);
  const auto second = call(2);
  ASSERT_TRUE(sources_hold(1));
  Source::gate.open();
  EXPECT_EQ(first.get(), "a long first word, too long to be in place 1 b c");
  EXPECT_EQ(second.get(), "a long first word, too long to be in place 2 b c");
}

TEST_P(TaskTest, CancelledWhileItWaitsItLearnsOfItWhenItGoesOn) {
  const Future<bool> call = single_.call<&Single::was_cancelled>(source_);
  ASSERT_TRUE(sources_hold(1));
  call.cancel();
  EXPECT_THROW((void)call.get(), CallCancelled);
  EXPECT_FALSE(Single::ended);
  Source::gate.open();
  EXPECT_TRUE(eventually([] { return Single::ended.load(); }));
  EXPECT_TRUE(Single::saw_cancel);
  EXPECT_EQ(single_.call<&Single::plain>().get(), 3);
}

TEST_P(TaskTest, AwaitOfAnActorThatEndsThrowsActorDied) {
  const auto far = cluster_[0].spawn<Source>({.node = GetParam()});
  far.terminate().get();
  const Future<int> call = single_.call<&Single::sum>(Single::Sources{far}, 1);
  EXPECT_NE(message_of<InternalError>([&] { (void)call.get(); }).find("it was asked to end"),
            std::string::npos);
}

TEST_P(TaskTest, AwaitOfItsOwnMethodIsAnErrorWhereNoOtherCallMayBegin) {
  EXPECT_NE(message_of<InternalError>([&] { (void)single_.call<&Single::own_plain>().get(); })
                .find("actor adder waits for its own method plain"),
            std::string::npos);
  const auto many = cluster_[0].spawn<Many>({});
  const auto named = cluster_[0].spawn<Many>({.name = "many"});
  EXPECT_EQ(named.call<&Many::own_plain>().get(), 3);
}

TEST_P(TaskTest, ShutdownEndsCallsThatWait) {
  std::vector<Future<int>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(single_.call<&Single::held>(source_, i));
  }
  ASSERT_TRUE(sources_hold(1));
  std::thread release([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    Source::gate.open();
  });
  cluster_[0].shutdown();
  release.join();
  for (const auto& call : calls) {
    EXPECT_TRUE(call.ready());
  }
}

}  // namespace
}  // namespace desta::runtime::testing
