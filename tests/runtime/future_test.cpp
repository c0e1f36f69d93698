// Futures: what is made of results, waiting for several, cancelling, errors, and what is copied.
#include <numeric>

#include "cluster_under_test.h"

namespace desta::runtime::testing {
namespace {

using std::chrono::milliseconds;

class QuotaExceeded : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Unknown : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Counts how often values of it are copied.
struct Copied {
  Copied() = default;
  explicit Copied(int value) : value(value) {}
  Copied(const Copied& other) : value(other.value) { ++copies; }
  Copied(Copied&&) = default;
  Copied& operator=(const Copied& other) {
    value = other.value;
    ++copies;
    return *this;
  }
  Copied& operator=(Copied&&) = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(value);
  }

  int value = 0;
  static inline std::atomic<int> copies = 0;
};

class Echo {
 public:
  int twice(int value) { return 2 * value; }
  void nothing() {}
  void fail(const std::string& kind) {
    if (kind == "own") {
      throw QuotaExceeded("12 of 10 files");
    }
    if (kind == "unknown") {
      throw Unknown("nobody told the others");
    }
    if (kind == "number") {
      throw 7;
    }
    if (kind == "invalid_argument") {
      throw std::invalid_argument("-1");
    }
    throw ConfigError("run.yaml:3: no such key");
  }
  Copied copied(int value) { return Copied(value); }
  Task<int> moved_by_await(ActorRef<Echo> other) {
    co_return (co_await other.call<&Echo::copied>(4)).value;
  }
  Buffer pass(const Buffer& buffer) { return buffer; }
  std::vector<Buffer> reversed(const std::vector<Buffer>& buffers) {
    return {buffers.rbegin(), buffers.rend()};
  }
  bool hold() { return gate.pass(); }
  void count() { ++counted; }

  static inline Gate gate;
  static inline std::atomic<int> counted = 0;
};

class FutureTest : public ::testing::TestWithParam<int> {
 protected:
  static void SetUpTestSuite() {
    actor_type<Echo>("Echo")
        .constructor<>()
        .method<&Echo::twice>("twice")
        .method<&Echo::nothing>("nothing")
        .method<&Echo::fail>("fail")
        .method<&Echo::copied>("copied")
        .method<&Echo::moved_by_await>("moved_by_await")
        .method<&Echo::pass>("pass")
        .method<&Echo::reversed>("reversed")
        .method<&Echo::hold>("hold")
        .method<&Echo::count>("count");
    error_type<QuotaExceeded>();
  }
  FutureTest() {
    Echo::gate.reset();
    Echo::counted = 0;
  }
  ~FutureTest() override { Echo::gate.open(); }

  Cluster cluster_{{{}, {}}};
  // On the caller's node, and on another.
  ActorRef<Echo> echo_ = cluster_[0].spawn<Echo>({.name = "echo", .node = GetParam()});
};

INSTANTIATE_TEST_SUITE_P(OnNode, FutureTest, ::testing::Values(0, 1));

TEST_P(FutureTest, ThenMakesAResultOfAResult) {
  const Future<int> twice = echo_.call<&Echo::twice>(21);
  EXPECT_EQ(twice.then([](int value) { return std::to_string(value); }).get(), "42");
  EXPECT_EQ(twice.get(), 42) << "the first future keeps its result";
  int seen = 0;
  twice.then([&](int value) { seen = value; }).get();
  EXPECT_EQ(seen, 42);
  EXPECT_EQ(echo_.call<&Echo::nothing>().then([] { return 5; }).get(), 5);
}

TEST_P(FutureTest, ThenChains) {
  EXPECT_EQ(echo_.call<&Echo::twice>(1)
                .then([](int value) { return value + 1; })
                .then([](int value) { return value * 10; })
                .then([](int value) { return std::to_string(value); })
                .get(),
            "30");
}

TEST_P(FutureTest, ErrorGoesThroughAChainAsItself) {
  bool ran = false;
  const auto end = echo_.call<&Echo::fail>("config").then([&] { ran = true; }).then([] {
    return 1;
  });
  EXPECT_EQ(message_of<ConfigError>([&] { (void)end.get(); }),
            "run.yaml:3: no such key (in actor echo, method fail)");
  EXPECT_FALSE(ran);
  echo_.terminate().get();
  EXPECT_THROW((void)echo_.call<&Echo::twice>(1).then([](int) { return 1; }).get(), ActorDied);
}

TEST_P(FutureTest, ErrorOfTheFunctionIsTheNewFuturesError) {
  const Future<int> twice = echo_.call<&Echo::twice>(1);
  const auto bad = twice.then([](int) -> int { throw DataError("an odd number"); });
  EXPECT_THROW((void)bad.get(), DataError);
  EXPECT_EQ(twice.get(), 2);
}

TEST_P(FutureTest, WaitAnyAndAllReturnWhenTheyCanAndFalseWhenTheTimeIsOver) {
  const auto second = cluster_[0].spawn<Echo>({.node = GetParam()});
  const std::vector<Future<bool>> held = {echo_.call<&Echo::hold>(), second.call<&Echo::hold>()};
  EXPECT_FALSE(wait(held, WaitFor::kAny, milliseconds(20)));
  const auto third = cluster_[0].spawn<Echo>({.node = GetParam()});
  const std::vector<Future<int>> quick = {third.call<&Echo::twice>(1), third.call<&Echo::twice>(2)};
  EXPECT_TRUE(wait(quick, WaitFor::kAll, std::chrono::seconds(60)));
  EXPECT_TRUE(quick[0].ready() && quick[1].ready());
  held[0].cancel();
  EXPECT_TRUE(wait(held, WaitFor::kAny));
  EXPECT_FALSE(wait(held, WaitFor::kAll, milliseconds(20)));
  Echo::gate.open();
  EXPECT_TRUE(wait(held, WaitFor::kAll));
  EXPECT_TRUE(wait(std::vector<Future<int>>{}, WaitFor::kAll));
  EXPECT_THROW((void)wait_any(std::vector<Future<int>>{}), InternalError);
}

TEST_P(FutureTest, CancelledCallThatWaitsNeverRuns) {
  const Future<bool> held = echo_.call<&Echo::hold>();
  ASSERT_TRUE(eventually([] { return Echo::gate.inside() == 1; }));
  const Future<void> first = echo_.call<&Echo::count>();
  const Future<void> cancelled = echo_.call<&Echo::count>();
  const Future<void> last = echo_.call<&Echo::count>();
  cancelled.cancel();
  EXPECT_TRUE(cancelled.ready());
  ASSERT_TRUE(eventually([&] { return cluster_.info("echo").pending == 3; })) << "it is told";
  EXPECT_EQ(message_of<CallCancelled>([&] { cancelled.get(); }),
            "the call was cancelled (in actor echo, method count)");
  Echo::gate.open();
  last.get();
  first.get();
  EXPECT_EQ(Echo::counted, 2);
  EXPECT_FALSE(held.get());
}

TEST_P(FutureTest, CancelledCallThatRunsLearnsOfItAndItsResultIsThrownAway) {
  const Future<bool> held = echo_.call<&Echo::hold>();
  ASSERT_TRUE(eventually([] { return Echo::gate.inside() == 1; }));
  held.cancel();
  EXPECT_THROW((void)held.get(), CallCancelled);
  EXPECT_TRUE(eventually([] { return Echo::gate.passed() == 1; })) << "the gate is still shut";
  EXPECT_EQ(echo_.call<&Echo::twice>(2).get(), 4) << "and the actor goes on";
}

TEST_P(FutureTest, CancelGivesThePendingCallsSlotBack) {
  const auto narrow = cluster_[0].spawn<Echo>(
      {.name = "narrow", .node = GetParam(), .max_pending_calls = 2});
  const Future<bool> held = narrow.call<&Echo::hold>();
  const Future<void> waiting = narrow.call<&Echo::count>();
  EXPECT_THROW(narrow.call<&Echo::count>().get(), PendingCallsLimitExceeded);
  waiting.cancel();
  ASSERT_TRUE(eventually([&] { return cluster_.info("narrow").pending == 1; })) << "it is told";
  const Future<void> next = narrow.call<&Echo::count>();
  Echo::gate.open();
  EXPECT_NO_THROW(next.get());
  EXPECT_EQ(Echo::counted, 1);
}

TEST_P(FutureTest, CancelAfterTheEndHasNoEffect) {
  const Future<int> twice = echo_.call<&Echo::twice>(1);
  EXPECT_EQ(twice.get(), 2);
  twice.cancel();
  EXPECT_EQ(twice.get(), 2);
  EXPECT_FALSE(twice.error().has_value());
}

TEST_P(FutureTest, CancelledManyTimesOverWhileTheCallsBegin) {
  for (int round = 0; round < 300; ++round) {
    const Future<int> call = echo_.call<&Echo::twice>(round);
    call.cancel();
    try {
      EXPECT_EQ(call.get(), 2 * round);
    } catch (const CallCancelled&) {
    }
  }
  EXPECT_EQ(echo_.call<&Echo::twice>(1).get(), 2);
}

TEST_P(FutureTest, ResultIsMovedToItsOnlyReaderAndCopiedForOneOfSeveral) {
  Copied::copies = 0;
  EXPECT_EQ(echo_.call<&Echo::copied>(1).get().value, 1);
  EXPECT_EQ(echo_.call<&Echo::moved_by_await>(cluster_[0].spawn<Echo>({})).get(), 4);
  EXPECT_EQ(Copied::copies, 0);
  const Future<Copied> kept = echo_.call<&Echo::copied>(2);
  EXPECT_EQ(kept.get().value, 2);
  EXPECT_EQ(Copied::copies, 1);
  Future<Copied> second = kept;
  EXPECT_EQ(std::move(second).get().value, 2);
  EXPECT_EQ(kept.get().value, 2) << "nobody moved it away";
  EXPECT_EQ(Copied::copies, 3);
}

TEST_P(FutureTest, ErrorsArriveAsTheClassesThatWereThrown) {
  EXPECT_EQ(message_of<std::invalid_argument>(
                [&] { echo_.call<&Echo::fail>("invalid_argument").get(); }),
            "-1 (in actor echo, method fail)");
  EXPECT_EQ(message_of<QuotaExceeded>([&] { echo_.call<&Echo::fail>("own").get(); }),
            "12 of 10 files (in actor echo, method fail)");
  EXPECT_EQ(message_of<InternalError>([&] { echo_.call<&Echo::fail>("unknown").get(); }),
            "nobody told the others (in actor echo, method fail)");
  EXPECT_EQ(message_of<InternalError>([&] { echo_.call<&Echo::fail>("number").get(); }),
            "something that is no std::exception was thrown (in actor echo, method fail)");
}

TEST_P(FutureTest, BuffersGoThereAndBack) {
  std::vector<float> values(2 * 1024 * 1024);  // 8 MiB
  std::iota(values.begin(), values.end(), 0.0F);
  const Buffer large = Buffer::of(values);
  const Buffer back = echo_.call<&Echo::pass>(large).get();
  if (GetParam() == 0) {
    EXPECT_EQ(back.data(), large.data()) << "on one node nothing is copied";
  }
  EXPECT_TRUE(std::ranges::equal(back.as<float>(), values));
  const std::vector<Buffer> several = {Buffer::of(std::vector<int>{1, 2}), Buffer(), large};
  const std::vector<Buffer> reversed = echo_.call<&Echo::reversed>(several).get();
  ASSERT_EQ(reversed.size(), 3U);
  EXPECT_EQ(reversed[0].size(), large.size());
  EXPECT_TRUE(reversed[1].empty());
  EXPECT_TRUE(std::ranges::equal(reversed[2].as<int>(), std::vector<int>{1, 2}));
}

}  // namespace
}  // namespace desta::runtime::testing
