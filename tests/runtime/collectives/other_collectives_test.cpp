// Reduce-scatter, all-gather, broadcast, barrier, messages, work under way, splitting.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "ranks_under_test.h"

namespace desta::runtime::testing {
namespace {

constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64,
                            DType::kInt32,   DType::kInt64,   DType::kUInt8};

// A buffer of the rank's own or one that its communicator allocated.
class Bytes {
 public:
  Bytes(Communicator& communicator, std::size_t bytes, bool allocated) {
    if (allocated) {
      shared_ = communicator.allocate(bytes);
    } else {
      own_.resize(bytes);
    }
  }
  [[nodiscard]] std::byte* data() { return shared_.size() > 0 ? shared_.data() : own_.data(); }

 private:
  SharedBuffer shared_;
  std::vector<std::byte> own_;
};

class Collectives : public ::testing::TestWithParam<int> {
 protected:
  // On one host and on two.
  static void on_hosts(const std::function<void(Communicator&)>& body) {
    const auto ranks = static_cast<std::size_t>(GetParam());
    run_ranks({.count = GetParam()}, body);
    run_ranks({.count = GetParam(),
               .hosts = std::string((ranks + 1) / 2, 'a') + std::string(ranks / 2, 'b')},
              body);
  }
};

TEST_P(Collectives, ReduceScatterGivesEachRankItsSegment) {
  on_hosts([](Communicator& communicator) {
    const auto ranks = static_cast<std::size_t>(communicator.size());
    const auto own = static_cast<std::size_t>(communicator.rank());
    for (const bool allocated : {false, true}) {
      for (const DType dtype : kTypes) {
        for (const std::size_t count : {0UL, 1UL, 7UL, 1001UL, 20'003UL}) {
          const std::size_t width = size_of(dtype);
          Bytes source(communicator, ranks * count * width + 1, allocated);
          Bytes apart(communicator, count * width + 1, allocated);
          for (const bool in_place : {false, true}) {
            for (std::size_t i = 0; i < ranks * count; ++i) {
              store(source.data(), i, dtype,
                    number_at(i, communicator.rank(), communicator.size()));
            }
            std::byte* const result = in_place ? source.data() + own * count * width : apart.data();
            communicator.reduce_scatter(source.data(), result, count, dtype, ReduceOp::kAverage);
            std::size_t wrong = 0;
            for (std::size_t i = 0; i < ranks * count; ++i) {
              const bool mine = i / std::max<std::size_t>(count, 1) == own;
              if (mine) {
                wrong += load(result, i - own * count, dtype) ==
                                 reduced_at(i, communicator.size(), ReduceOp::kAverage)
                             ? 0
                             : 1;
              } else {
                wrong += load(source.data(), i, dtype) ==
                                 number_at(i, communicator.rank(), communicator.size())
                             ? 0
                             : 1;
              }
            }
            EXPECT_EQ(wrong, 0U) << count << " " << name_of(dtype) << " in place " << in_place;
          }
        }
      }
    }
  });
}

TEST_P(Collectives, AllGatherGivesEveryoneEverySegment) {
  on_hosts([](Communicator& communicator) {
    const auto ranks = static_cast<std::size_t>(communicator.size());
    const auto own = static_cast<std::size_t>(communicator.rank());
    for (const bool allocated : {false, true}) {
      for (const std::size_t count : {0UL, 1UL, 7UL, 1001UL, 300'003UL}) {
        Bytes all(communicator, ranks * count + 1, allocated);
        Bytes mine(communicator, count + 1, allocated);
        for (const bool in_place : {false, true}) {
          std::byte* const source = in_place ? all.data() + own * count : mine.data();
          for (std::size_t i = 0; i < count; ++i) {
            store(source, i, DType::kUInt8, static_cast<int>((i + own * 50) % 251));
          }
          communicator.all_gather(source, all.data(), count, DType::kUInt8);
          std::size_t wrong = 0;
          for (std::size_t rank = 0; rank < ranks; ++rank) {
            for (std::size_t i = 0; i < count; ++i) {
              wrong += load(all.data() + rank * count, i, DType::kUInt8) ==
                               static_cast<int>((i + rank * 50) % 251)
                           ? 0
                           : 1;
            }
          }
          EXPECT_EQ(wrong, 0U) << count << " in place " << in_place;
          // The source may be changed as soon as the call has returned.
          std::memset(source, 0, count);
        }
      }
    }
  });
}

TEST_P(Collectives, BroadcastReachesEveryRankFromEveryRoot) {
  on_hosts([](Communicator& communicator) {
    for (const bool allocated : {false, true}) {
      for (int root = 0; root < communicator.size(); ++root) {
        for (const std::size_t count : {0UL, 1UL, 1001UL, 300'003UL}) {
          Bytes data(communicator, 4 * count + 4, allocated);
          const bool is_root = communicator.rank() == root;
          for (std::size_t i = 0; i < count; ++i) {
            store(data.data(), i, DType::kInt32, is_root ? static_cast<int>(i) + root : -1);
          }
          communicator.broadcast(data.data(), count, DType::kInt32, root);
          std::size_t wrong = 0;
          for (std::size_t i = 0; i < count; ++i) {
            wrong += load(data.data(), i, DType::kInt32) == static_cast<int>(i) + root ? 0 : 1;
          }
          EXPECT_EQ(wrong, 0U) << count << " from " << root;
          std::memset(data.data(), 0, 4 * count);
        }
      }
    }
  });
}

TEST_P(Collectives, BarrierHoldsUntilTheLastRankCame) {
  std::atomic<int> came = 0;
  on_hosts([&](Communicator& communicator) {
    communicator.barrier();
    came = 0;
    communicator.barrier();
    if (communicator.rank() == communicator.size() - 1) {
      std::this_thread::sleep_for(20ms);
    }
    ++came;
    communicator.barrier();
    EXPECT_EQ(came, communicator.size());
  });
}

TEST_P(Collectives, AnyOrderOfCollectivesIsKeptApart) {
  run_ranks({.count = GetParam()}, [](Communicator& communicator) {
    const auto ranks = static_cast<std::size_t>(communicator.size());
    SharedBuffer shared = communicator.allocate(400'000);
    std::vector<float> own(100'000);
    for (int round = 0; round < 60; ++round) {
      const std::size_t count = (round * 7919UL) % 90'000 + 1;
      float* const data = round % 3 == 0 ? shared.as<float>().data() : own.data();
      std::fill_n(data, count, static_cast<float>(round));
      switch (round % 5) {
        case 0:
          communicator.all_reduce(data, count, DType::kFloat32, ReduceOp::kSum);
          EXPECT_EQ(data[count - 1], static_cast<float>(round * communicator.size()));
          break;
        case 1:
          communicator.broadcast(data, count, DType::kFloat32, round % communicator.size());
          EXPECT_EQ(data[count - 1], static_cast<float>(round));
          break;
        case 2:
          communicator.all_reduce(data, 3, DType::kFloat32, ReduceOp::kSum);
          EXPECT_EQ(data[2], static_cast<float>(round * communicator.size()));
          break;
        case 3:
          communicator.reduce_scatter(
              data, data + static_cast<std::size_t>(communicator.rank()) * (count / ranks),
              count / ranks, DType::kFloat32, ReduceOp::kMax);
          break;
        case 4:
          communicator.all_gather(
              data + static_cast<std::size_t>(communicator.rank()) * (count / ranks), data,
              count / ranks, DType::kFloat32);
          break;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Collectives, ::testing::Range(1, 10));

TEST(WorkUnderWay, RunsInTheOrderOfItsStart) {
  run_ranks({.count = 3}, [](Communicator& communicator) {
    constexpr std::size_t kBuffers = 20;
    std::vector<std::vector<float>> data(kBuffers);
    std::vector<std::unique_ptr<Work>> works;
    for (std::size_t i = 0; i < kBuffers; ++i) {
      data[i].assign(i * 5000 + 1, static_cast<float>(i));
      works.push_back(communicator.all_reduce_async(data[i].data(), data[i].data(), data[i].size(),
                                                    DType::kFloat32, ReduceOp::kSum));
    }
    // A blocking one waits for its turn behind them.
    float last = 1;
    communicator.all_reduce(&last, 1, DType::kFloat32, ReduceOp::kSum);
    EXPECT_EQ(last, 3.0F);
    for (std::size_t i = 0; i < kBuffers; ++i) {
      EXPECT_TRUE(works[i]->done());
      works[i]->wait();
      EXPECT_EQ(data[i].back(), static_cast<float>(3 * i));
    }
    std::vector<std::int32_t> all(3);
    const std::int32_t mine = communicator.rank();
    std::vector<float> part(2);
    const std::vector<float> whole(6, 2.0F);
    int told = communicator.rank() == 1 ? 7 : 0;
    const auto gathered = communicator.all_gather_async(&mine, all.data(), 1, DType::kInt32);
    const auto scattered = communicator.reduce_scatter_async(whole.data(), part.data(), 2,
                                                             DType::kFloat32, ReduceOp::kSum);
    const auto broadcast = communicator.broadcast_async(&told, 1, DType::kInt32, 1);
    communicator.barrier_async()->wait();
    EXPECT_TRUE(gathered->done() && scattered->done() && broadcast->done());
    EXPECT_EQ(all, (std::vector<std::int32_t>{0, 1, 2}));
    EXPECT_EQ(part, (std::vector<float>{6.0F, 6.0F}));
    EXPECT_EQ(told, 7);
  });
}

TEST(WorkUnderWay, ThreadsOfARankShareOneCommunicatorAndUseManyAtOnce) {
  run_ranks({.count = 3}, [](Communicator& world) {
    std::vector<std::unique_ptr<Communicator>> communicators;
    for (int i = 0; i < 4; ++i) {
      communicators.push_back(world.split(0));
    }
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        std::vector<float> data(20'000 + i);
        for (int round = 0; round < 20; ++round) {
          std::ranges::fill(data, static_cast<float>(i));
          communicators[i]->all_reduce(data.data(), data.size(), DType::kFloat32, ReduceOp::kSum);
          EXPECT_EQ(data.back(), static_cast<float>(3 * i));
        }
      });
    }
    // On one of them: started here, one after the other, waited for by threads in any order, while
    // messages pass as well.
    std::vector<std::vector<std::int64_t>> data(16, std::vector<std::int64_t>(9000, 2));
    std::vector<std::unique_ptr<Work>> works;
    for (auto& numbers : data) {
      works.push_back(world.all_reduce_async(numbers.data(), numbers.data(), numbers.size(),
                                             DType::kInt64, ReduceOp::kSum));
    }
    for (std::size_t i = 0; i < works.size(); ++i) {
      threads.emplace_back([&, i] {
        works[i]->wait();
        EXPECT_EQ(data[i].back(), 6);
      });
    }
    const int next = (world.rank() + 1) % 3;
    const int previous = (world.rank() + 2) % 3;
    for (int i = 0; i < 50; ++i) {
      int got = -1;
      const auto received = world.receive_async(&got, sizeof(got), previous, 4);
      world.send(&i, sizeof(i), next, 4);
      received->wait();
      EXPECT_EQ(got, i);
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  });
}

TEST(Allocation, MayBeGivenUpInAnyOrderAndOutliveTheCommunicator) {
  std::vector<SharedBuffer> kept(2);
  run_ranks({.count = 2}, [&](Communicator& communicator) {
    for (int round = 0; round < 5; ++round) {
      SharedBuffer first = communicator.allocate(100'000);
      SharedBuffer second = communicator.allocate(100'000);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first.data()) % 4096, 0U);
      EXPECT_EQ(first.as<float>()[24'999], 0.0F);
      if (communicator.rank() == 0) {
        first = {};  // rank 1 goes on with its own
      }
      std::ranges::fill(second.as<float>(), 1.0F);
      communicator.all_reduce(second.data(), 25'000, DType::kFloat32, ReduceOp::kSum);
      EXPECT_EQ(second.as<float>()[24'999], 2.0F);
      kept[static_cast<std::size_t>(communicator.rank())] = std::move(second);
    }
  });
  EXPECT_EQ(kept[0].as<float>()[24'999], 2.0F);
}

TEST(Splitting, GroupsKeepTheOrderOfRanksAndTheirHosts) {
  run_ranks({.count = 6, .hosts = "aaabbb"}, [](Communicator& world) {
    const auto group = world.split(world.rank() % 2);
    EXPECT_EQ(group->rank(), world.rank() / 2);
    EXPECT_EQ(group->size(), 3);
    std::int64_t sum = world.rank();
    group->all_reduce(&sum, 1, DType::kInt64, ReduceOp::kSum);
    EXPECT_EQ(sum, world.rank() % 2 == 0 ? 6 : 9);
    EXPECT_GT(group->traffic().sent, 0U);
  });
}

}  // namespace
}  // namespace desta::runtime::testing
