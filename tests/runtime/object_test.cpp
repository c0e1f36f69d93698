// Shared objects: put on one node, read on all, freed with the last reference.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>
#include <thread>

#include "keeper_under_test.h"

namespace desta::runtime::testing {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

struct Sample {
  std::string text;
  std::vector<int> tokens;
  Buffer audio;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(text, tokens, audio);
  }
};

// One that is made with an object.
class Reader : public Keeper {
 public:
  explicit Reader(const ObjectRef<Buffer>& object) : Keeper(object) {}
};

void register_reader() {
  register_keeper();
  actor_type<Reader>("Reader")
      .constructor<ObjectRef<Buffer>>()
      .method<&Reader::sum_kept>("sum_kept")
      .method<&Reader::fail>("fail");
}

// The device and inode of the mapping that holds this address, and how it is mapped.
std::pair<std::string, std::string> mapping_of(const std::byte* address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range;
    std::string mode;
    std::string offset;
    std::string device;
    std::string inode;
    words >> range >> mode >> offset >> device >> inode;
    const std::size_t dash = range.find('-');
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    if (at >= std::stoull(range.substr(0, dash), nullptr, 16) &&
        at < std::stoull(range.substr(dash + 1), nullptr, 16)) {
      return {device + " " + inode, mode};
    }
  }
  return {};
}

class ObjectTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { register_reader(); }
  ObjectTest() { Keeper::gate.reset(); }
  ~ObjectTest() override { Keeper::gate.open(); }

  ActorRef<Keeper> keeper(int node) { return cluster_[0].spawn<Keeper>({.node = node}); }
  bool all_empty() {
    return eventually(
        [this] { return is_empty(cluster_[0]) && is_empty(cluster_[1]) && is_empty(cluster_[2]); });
  }

  // Nodes 0 and 1 share a host.
  Cluster cluster_{{on_host("a"), on_host("a"), on_host("b")}};
};

TEST_F(ObjectTest, WhatIsPutIsGotOnTheSameNode) {
  const Sample sample{"hello", {1, 2, 3}, pattern(10)};
  const ObjectRef<Sample> object = cluster_[0].put(sample);
  const auto got = cluster_[0].get(object);
  EXPECT_EQ(got->text, "hello");
  EXPECT_EQ(got->tokens, (std::vector{1, 2, 3}));
  EXPECT_TRUE(same(got->audio, sample.audio));
  EXPECT_EQ(*cluster_[0].get(cluster_[0].put(41)), 41);
  EXPECT_EQ(*cluster_[0].get(cluster_[0].put(std::string(kMiB, 'x'))), std::string(kMiB, 'x'));
  EXPECT_TRUE(cluster_[0].get(cluster_[0].put(Buffer()))->empty());
  EXPECT_THROW((void)cluster_[0].get(ObjectRef<int>()), InternalError);
}

TEST_F(ObjectTest, SmallAndLargeValuesAreReadOnEveryNode) {
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1000}, std::size_t{102400}, std::size_t{102401}, 3 * kMiB}) {
    const Buffer buffer = pattern(bytes);
    const ObjectRef<Buffer> object = cluster_[0].put(buffer);
    EXPECT_EQ(counts_of(cluster_[0]).segments, bytes > 102400 ? 1U : 0U) << bytes;
    for (const int node : {0, 1, 2}) {
      EXPECT_EQ(keeper(node).call<&Keeper::sum>(object).get(), sum_of(buffer)) << bytes;
    }
  }
  EXPECT_TRUE(all_empty());
}

TEST_F(ObjectTest, LargeValueWithBuffersInsideKeepsItsParts) {
  const Sample sample{std::string(200'000, 'y'), {7}, pattern(kMiB + 3)};
  const ObjectRef<Sample> object = cluster_[0].put(sample);
  const auto got = cluster_[1].get(
      ObjectRef<Sample>(cluster_[1].core().objects().hold(object.id()), object.size()));
  EXPECT_EQ(got->text, sample.text);
  EXPECT_EQ(got->tokens, sample.tokens);
  EXPECT_TRUE(same(got->audio, sample.audio));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(got->audio.data()) % 64, 0U);
}

TEST_F(ObjectTest, ProcessesOfAHostReadTheSamePages) {
  const auto object = cluster_[0].put(pattern(64 * kMiB));
  const auto here = cluster_[0].get(object);
  const ObjectRef<Buffer> there(cluster_[1].core().objects().hold(object.id()), object.size());
  const auto other = cluster_[1].get(there);
  ASSERT_NE(here->data(), other->data()) << "two mappings";
  EXPECT_TRUE(same(*here, *other));
  EXPECT_EQ(mapping_of(here->data()).first, mapping_of(other->data()).first) << "of one file";
  EXPECT_EQ(mapping_of(here->data()).second, "r--s");
  EXPECT_EQ(mapping_of(other->data()).second, "r--s");
  EXPECT_EQ(counts_of(cluster_[1]).fetches, 0U);
  EXPECT_EQ(counts_of(cluster_[1]).bytes, 0U);
}

TEST_F(ObjectTest, AnotherProcessMapsASegmentAndCannotMistakeAnotherFileForIt) {
  const Buffer buffer = pattern(kMiB);
  detail::ObjectValue value;
  value.buffers = {buffer};
  const auto segment = detail::ObjectSegment::create(value);
  const pid_t child = fork();
  if (child == 0) {
    const auto seen = detail::open_segment(segment->address());
    _exit(seen.has_value() && same(seen->buffers.at(0), buffer) ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  detail::SegmentAddress wrong = segment->address();
  ++wrong.file;
  EXPECT_FALSE(detail::open_segment(wrong).has_value());
  wrong = segment->address();
  wrong.descriptor = 100'000;
  EXPECT_FALSE(detail::open_segment(wrong).has_value());
}

TEST_F(ObjectTest, SegmentsHaveNoNamesThatAKilledJobCouldLeaveBehind) {
  const auto object = cluster_[0].put(pattern(kMiB));
  const std::string mine = "desta-" + std::to_string(getpid()) + "-";
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    EXPECT_NE(entry.path().filename().string().substr(0, mine.size()), mine);
  }
}

TEST(ObjectHosts, EachHostFetchesALargeObjectOnce) {
  register_keeper();
  std::vector<ActorSystemOptions> nodes;
  for (const char* host : {"a", "a", "b", "b", "b", "c", "c"}) {
    nodes.push_back(on_host(host));
  }
  Cluster cluster(nodes);
  const Buffer buffer = pattern(kMiB);
  {
    std::vector<Future<int>> sums;  // of local calls: they have their arguments
    const auto object = cluster[1].put(buffer);
    const ObjectRef<Buffer> seen(cluster[0].core().objects().hold(object.id()), object.size());
    for (int round = 0; round < 3; ++round) {
      for (int node = 0; node < 7; ++node) {
        const auto reader = cluster[0].spawn<Keeper>({.node = node});
        sums.push_back(reader.call<&Keeper::sum>(seen));
      }
    }
    for (const int sum : get_all(sums)) {
      EXPECT_EQ(sum, sum_of(buffer));
    }
    const auto fetched = [&](int node) { return counts_of(cluster[node]).fetches; };
    EXPECT_EQ(fetched(2), 1U) << "the first node of host b";
    EXPECT_EQ(fetched(5), 1U) << "the first node of host c";
    EXPECT_EQ(fetched(0) + fetched(1) + fetched(3) + fetched(4) + fetched(6), 0U);
    EXPECT_EQ(counts_of(cluster[2]).segments, 1U) << "kept while the object lives";
  }
  for (int node = 0; node < 7; ++node) {
    EXPECT_TRUE(eventually([&] { return is_empty(cluster[node]); })) << node;
  }
}

TEST_F(ObjectTest, ObjectLivesAsLongAsAnyReferenceToIt) {
  const auto near = keeper(0);
  const auto far = keeper(1);
  const auto farther = keeper(2);
  {
    ObjectRef<Buffer> object = cluster_[0].put(pattern(kMiB));
    ObjectRef<Buffer> copy = object;
    const ObjectRef<Buffer> moved = std::move(object);
    copy = ObjectRef<Buffer>();
    near.call<&Keeper::keep>(moved).get();
    far.call<&Keeper::keep>(moved).get();
  }
  near.call<&Keeper::forget>().get();
  EXPECT_EQ(far.call<&Keeper::sum_kept>(0).get(), sum_of(pattern(kMiB)));
  far.call<&Keeper::pass_on>(farther).get();
  EXPECT_TRUE(eventually([&] { return is_empty(cluster_[1]); }));
  EXPECT_EQ(counts_of(cluster_[0]).objects, 1U);
  EXPECT_EQ(farther.call<&Keeper::sum_kept>(0).get(), sum_of(pattern(kMiB)));
  farther.call<&Keeper::forget>().get();
  EXPECT_TRUE(all_empty());
}

TEST_F(ObjectTest, ReferencesTravelInsideArgumentsResultsAndContainers) {
  const auto far = keeper(1);
  const auto farther = keeper(2);
  ObjectRef<Buffer> made = farther.call<&Keeper::make>(1000, 5).get();
  EXPECT_EQ(sum_of(*cluster_[0].get(made)), sum_of(pattern(1000, 5)));
  Shelf shelf;
  shelf.all = {made, cluster_[0].put(pattern(kMiB, 2)), made};
  shelf.by_name["third"] = cluster_[0].put(pattern(10, 3));
  far.call<&Keeper::keep_all>(shelf).get();
  shelf = {};
  made = {};
  const Shelf back = far.call<&Keeper::shelf>().get();
  far.call<&Keeper::forget>().get();
  ASSERT_EQ(back.all.size(), 4U);
  EXPECT_EQ(back.all[0], back.all[2]);
  EXPECT_EQ(back.by_name.at("last"), back.all[3]);
  EXPECT_EQ(farther.call<&Keeper::sum>(back.all[1]).get(), sum_of(pattern(kMiB, 2)));
  EXPECT_EQ(farther.call<&Keeper::sum>(back.all[3]).get(), sum_of(pattern(10, 3)));
  EXPECT_FALSE(far.call<&Keeper::last>().get().id());
}

TEST_F(ObjectTest, ObjectsInsideAnObjectLiveAsLongAsIt) {
  const auto far = keeper(1);
  ObjectRef<Shelf> shelf;
  {
    Shelf value;
    value.all = {cluster_[0].put(pattern(kMiB, 4)), far.call<&Keeper::make>(kMiB, 5).get()};
    shelf = cluster_[0].put(value);
  }
  far.call<&Keeper::forget>().get();
  const ObjectRef<Shelf> seen(cluster_[2].core().objects().hold(shelf.id()), shelf.size());
  const auto got = cluster_[2].get(seen);
  EXPECT_TRUE(same(*cluster_[2].get(got->all.at(0)), pattern(kMiB, 4)));
  EXPECT_TRUE(same(*cluster_[2].get(got->all.at(1)), pattern(kMiB, 5)));
}

TEST_F(ObjectTest, ConstructorsArgumentsAreHeldForRestarts) {
  const auto reader = cluster_[0].spawn<Reader>(
      {.node = 1, .max_restarts = 3, .restart_backoff = std::chrono::milliseconds(1)},
      cluster_[0].put(pattern(kMiB)));
  for (int life = 0; life < 2; ++life) {
    EXPECT_EQ(reader.call<&Reader::sum_kept>(0).get(), sum_of(pattern(kMiB)));
    EXPECT_THROW(reader.call<&Reader::fail>(ObjectRef<Buffer>()).get(), DataError);
  }
  EXPECT_EQ(reader.call<&Reader::sum_kept>(0).get(), sum_of(pattern(kMiB)));
}

TEST_F(ObjectTest, ActorThatHasEndedHoldsItsConstructorsArgumentsNoMore) {
  for (const int max_restarts : {0, 3}) {
    const auto reader = cluster_[0].spawn<Reader>({.node = 1, .max_restarts = max_restarts},
                                                  cluster_[0].put(pattern(kMiB)));
    EXPECT_EQ(reader.call<&Reader::sum_kept>(0).get(), sum_of(pattern(kMiB)));
    reader.terminate().get();
    EXPECT_TRUE(all_empty()) << max_restarts;
  }
}

TEST_F(ObjectTest, CallsThatFailOrAreCancelledLetGo) {
  const auto far = keeper(1);
  {
    const auto object = cluster_[0].put(pattern(kMiB));
    EXPECT_THROW(far.call<&Keeper::fail>(object).get(), DataError);
    auto held = far.call<&Keeper::hold>(object);
    auto waiting = far.call<&Keeper::keep>(object);
    ASSERT_TRUE(eventually([] { return Keeper::gate.inside() == 1; }));
    waiting.cancel();
    held.cancel();
    far.terminate().get();
    EXPECT_THROW(far.call<&Keeper::keep>(object).get(), ActorDied);
  }
  EXPECT_TRUE(all_empty());
}

TEST_F(ObjectTest, ManyThreadsShareReferences) {
  const auto far = keeper(1);
  const auto farther = keeper(2);
  const auto work = [&](int seed) {
    for (int round = 0; round < 30; ++round) {
      const int bytes = round % 3 == 0 ? 150'000 : 500;
      const auto object = cluster_[0].put(pattern(static_cast<std::size_t>(bytes), seed));
      const auto sum = far.call<&Keeper::sum>(object);
      (void)far.call<&Keeper::keep>(object);
      const auto passed = far.call<&Keeper::pass_on>(farther);
      EXPECT_EQ(sum.get(), sum_of(*cluster_[0].get(object)));
      passed.get();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back(work, thread);
    }
  }
  far.call<&Keeper::forget>().get();
  farther.call<&Keeper::forget>().get();
  EXPECT_TRUE(all_empty());
}

TEST_F(ObjectTest, ObjectsOfALostNodeAreLost) {
  const auto far = keeper(2);
  const auto read = far.call<&Keeper::make>(kMiB, 1).get();
  const auto not_read = far.call<&Keeper::make>(10, 1).get();
  const auto mapped = cluster_[0].get(read);
  cluster_.lose(2);
  ASSERT_TRUE(eventually([&] {
    return cluster_[0].core().objects().state(read.id()) == detail::ObjectStore::State::kLost;
  }));
  EXPECT_THROW((void)cluster_[0].get(read), ObjectLost);
  const auto message = message_of<ObjectLost>([&] { (void)cluster_[0].get(not_read); });
  EXPECT_NE(message.find("of node 2"), std::string::npos) << message;
  EXPECT_TRUE(same(*mapped, pattern(kMiB, 1))) << "what is in use stays";
  EXPECT_THROW((void)keeper(1).call<&Keeper::sum>(read).get(), ObjectLost) << "known elsewhere";
}

TEST_F(ObjectTest, WhatALostNodeHeldIsFreed) {
  keeper(2).call<&Keeper::keep>(cluster_[0].put(pattern(kMiB))).get();
  EXPECT_EQ(counts_of(cluster_[0]).objects, 1U);
  cluster_.lose(2);
  EXPECT_TRUE(eventually([&] { return is_empty(cluster_[0]); }));
}

TEST_F(ObjectTest, GetGivesUpWhenTheOwnerIsSilent) {
  const auto object = keeper(2).call<&Keeper::make>(10, 1).get();
  cluster_.cut_off(2);
  const auto message = message_of<TransportError>(
      [&] { (void)cluster_[0].get(object, std::chrono::milliseconds(20)); });
  EXPECT_NE(message.find("of node 2 has not come to node 0"), std::string::npos) << message;
  cluster_.lose(2);
}

TEST(ObjectMemory, PutPastTheLimitSaysSoAndFreedRoomCanBeUsedAgain) {
  register_keeper();
  Cluster cluster({on_host("a", 2 * kMiB), on_host("b", kMiB / 2)});
  auto first = cluster[0].put(pattern(kMiB));
  const auto second = cluster[0].put(pattern(kMiB));
  const auto message = message_of<ObjectStoreFull>([&] { (void)cluster[0].put(1); });
  EXPECT_NE(message.find("object_memory"), std::string::npos) << message;
  const auto reader = cluster[0].spawn<Keeper>({.node = 1});
  EXPECT_THROW((void)reader.call<&Keeper::sum>(second).get(), ObjectStoreFull);
  first = {};
  EXPECT_NO_THROW((void)cluster[0].put(pattern(kMiB)));
}

TEST(ObjectMemory, FullSharedMemoryIsAnErrorAndNoSignal) {
  const std::byte byte{};
  detail::ObjectValue value;  // larger than /dev/shm, and never read
  value.buffers = {Buffer(nullptr, {&byte, std::size_t{1} << 50})};
  EXPECT_THROW((void)detail::ObjectSegment::create(value), ObjectStoreFull);
}

TEST(ObjectMemory, ReferencesAndBuffersMayOutliveTheirSystem) {
  ObjectRef<Buffer> object;
  std::shared_ptr<const Buffer> got;
  {
    Cluster cluster({on_host("a")});
    object = cluster[0].put(pattern(kMiB));
    got = cluster[0].get(object);
  }
  EXPECT_TRUE(same(*got, pattern(kMiB)));
  EXPECT_NE(object.id(), 0U);
}

}  // namespace
}  // namespace desta::runtime::testing
