// Every algorithm of an all-reduce against whole numbers, which come out exactly.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "ranks_under_test.h"
#include "runtime/collectives/choice.h"
#include "runtime/collectives/partition.h"
#include "runtime/core/random.h"

namespace desta::runtime::testing {
namespace {

constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kFloat64,
                            DType::kInt32,   DType::kInt64,   DType::kUInt8};
constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kAverage, ReduceOp::kMax, ReduceOp::kMin};

// How a buffer lies in memory.
enum class Memory { kOwn, kUnaligned, kAllocated, kMixed };

// One all-reduce of a buffer that is filled, guarded and looked through.
void check(Communicator& communicator, std::size_t count, DType dtype, ReduceOp op, bool in_place,
           Memory memory = Memory::kOwn) {
  const int rank = communicator.rank();
  const std::size_t bytes = count * size_of(dtype);
  const bool allocates =
      memory == Memory::kAllocated || (memory == Memory::kMixed && rank % 2 == 1);
  const std::size_t skip = memory == Memory::kUnaligned ? 1 : 0;
  std::vector<std::byte> own(2 * (bytes + 2), std::byte{0xee});
  SharedBuffer shared;
  if (memory == Memory::kAllocated || memory == Memory::kMixed) {
    shared = communicator.allocate(2 * (bytes + 2));
    std::memset(shared.data(), 0xee, shared.size());
  }
  std::byte* const source = (allocates ? shared.data() : own.data()) + skip;
  std::byte* const destination = in_place ? source : source + bytes + 1;
  for (std::size_t i = 0; i < count; ++i) {
    store(source, i, dtype, number_at(i, rank, communicator.size()));
  }
  communicator.all_reduce(source, destination, count, dtype, op);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < count; ++i) {
    wrong += load(destination, i, dtype) == reduced_at(i, communicator.size(), op) ? 0 : 1;
    if (!in_place) {
      wrong += load(source, i, dtype) == number_at(i, rank, communicator.size()) ? 0 : 1;
    }
  }
  EXPECT_EQ(wrong, 0U) << count << " " << name_of(dtype) << " op " << static_cast<int>(op)
                       << " in place " << in_place << " memory " << static_cast<int>(memory)
                       << " rank " << rank << " of " << communicator.size() << " by "
                       << communicator.algorithm(bytes);
  EXPECT_EQ(destination[bytes], std::byte{0xee}) << "written behind the end";
}

void check_all(Communicator& communicator) {
  for (const DType dtype : kTypes) {
    for (const ReduceOp op : kOps) {
      check(communicator, 1003, dtype, op, op == ReduceOp::kSum);
    }
  }
  for (const std::size_t count : {0UL, 1UL, 2UL, 7UL, 64UL, 1000UL, 4097UL, 70'001UL}) {
    check(communicator, count, DType::kFloat32, ReduceOp::kSum, true);
    check(communicator, count, DType::kBFloat16, ReduceOp::kAverage, false, Memory::kUnaligned);
  }
}

// The hosts of n ranks: all on one, two halves, three in turn, each its own.
std::vector<std::string> layouts(int ranks) {
  const auto count = static_cast<std::size_t>(ranks);
  std::vector<std::string> all = {std::string(count, 'a')};
  if (ranks > 1) {
    all.push_back(std::string(count / 2, 'a') + std::string(count - count / 2, 'b'));
  }
  if (ranks > 2) {
    std::string turns;
    for (std::size_t rank = 0; rank < count; ++rank) {
      turns += static_cast<char>('a' + rank % 3);
    }
    all.push_back(turns);
  }
  return all;
}

std::vector<std::string> algorithms_for(const std::string& hosts) {
  Topology topology;
  for (const char host : hosts) {
    const auto known = std::ranges::find(topology.names, std::string(1, host));
    topology.host_of.push_back(static_cast<int>(known - topology.names.begin()));
    if (known == topology.names.end()) {
      topology.names.emplace_back(1, host);
    }
  }
  topology.shares_memory = topology.hosts() < topology.ranks();
  std::vector<std::string> names;
  for (const Algorithm algorithm : candidates(topology, false)) {
    names.push_back(name_of(algorithm, topology));
  }
  return names;
}

class AllReduce : public ::testing::TestWithParam<int> {};

TEST_P(AllReduce, EveryAlgorithmIsExactOnEveryLayout) {
  for (const std::string& hosts : layouts(GetParam())) {
    for (const std::string& algorithm : algorithms_for(hosts)) {
      SCOPED_TRACE(hosts + " " + algorithm);
      run_ranks({.count = GetParam(), .hosts = hosts, .algorithm = algorithm}, check_all);
    }
  }
}

TEST_P(AllReduce, SharedMemoryIsExactWhereverTheBuffersLie) {
  run_ranks({.count = GetParam()}, [](Communicator& communicator) {
    for (const Memory memory : {Memory::kUnaligned, Memory::kAllocated, Memory::kMixed}) {
      for (const bool in_place : {true, false}) {
        for (const std::size_t count : {1UL, 5UL, 2049UL, 33'333UL, 300'007UL}) {
          check(communicator, count, DType::kFloat32, ReduceOp::kSum, in_place, memory);
        }
        check(communicator, 9001, DType::kFloat16, ReduceOp::kAverage, in_place, memory);
        check(communicator, 50'001, DType::kUInt8, ReduceOp::kMax, in_place, memory);
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, AllReduce, ::testing::Range(1, 10));

// Numbers of very different size and some NaNs with payloads of their own, so that another order of
// sums shows in the bits.
std::vector<float> telling_numbers(int rank, std::size_t count) {
  Random random(mix_seed(11, static_cast<std::uint64_t>(rank)));
  std::vector<float> numbers(count);
  for (std::size_t i = 0; i < count; ++i) {
    numbers[i] = static_cast<float>(random.normal() * std::pow(10.0, random.uniform(-6, 6)));
    if (i % 97 == 0) {
      const std::uint32_t nan = 0x7fc00000U + static_cast<std::uint32_t>(rank * 1000) +
                                static_cast<std::uint32_t>(i % 1000);
      std::memcpy(&numbers[i], &nan, sizeof(nan));
    }
  }
  return numbers;
}

// What each rank has after an all-reduce of telling numbers; they must agree.
std::vector<float> telling_sum(const Ranks& ranks, std::size_t count, bool allocated = false) {
  std::vector<std::vector<float>> results(static_cast<std::size_t>(ranks.count));
  run_ranks(ranks, [&](Communicator& communicator) {
    std::vector<float> numbers = telling_numbers(communicator.rank(), count);
    SharedBuffer shared;
    float* data = numbers.data();
    if (allocated) {
      shared = communicator.allocate(count * sizeof(float));
      data = shared.as<float>().data();
      std::ranges::copy(numbers, data);
    }
    communicator.all_reduce(data, data, count, DType::kFloat32, ReduceOp::kSum);
    results[static_cast<std::size_t>(communicator.rank())].assign(data, data + count);
  });
  for (const auto& result : results) {
    EXPECT_EQ(std::memcmp(result.data(), results[0].data(), count * sizeof(float)), 0)
        << ranks.algorithm << ": ranks differ";
  }
  return results[0];
}

TEST(AllReduceBits, EveryAlgorithmGivesTheSameBitsOnEveryRankAndInEveryRun) {
  constexpr std::size_t kCount = 20'011;
  for (const std::string hosts : {"aaaaa", "aabbc", "abcab"}) {
    for (const std::string& algorithm : algorithms_for(hosts)) {
      SCOPED_TRACE(hosts + " " + algorithm);
      const Ranks ranks{.count = 5, .hosts = hosts, .algorithm = algorithm};
      const auto first = telling_sum(ranks, kCount);
      const auto second = telling_sum(ranks, kCount);
      EXPECT_EQ(std::memcmp(first.data(), second.data(), kCount * sizeof(float)), 0);
    }
  }
}

TEST(AllReduceBits, SharedMemoryAndDirectAddInRankOrder) {
  constexpr std::size_t kCount = 100'003;
  std::vector<float> expected = telling_numbers(0, kCount);
  for (int rank = 1; rank < 4; ++rank) {
    const std::vector<float> other = telling_numbers(rank, kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      expected[i] += other[i];
    }
  }
  const auto differing = [&](const std::vector<float>& sum) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      const bool same = std::memcmp(&sum[i], &expected[i], sizeof(float)) == 0;
      count += same || (std::isnan(sum[i]) && std::isnan(expected[i])) ? 0 : 1;
    }
    return count;
  };
  EXPECT_EQ(differing(telling_sum({.count = 4}, kCount)), 0U);
  EXPECT_EQ(differing(telling_sum({.count = 4}, kCount, true)), 0U);
  EXPECT_EQ(differing(telling_sum({.count = 4, .algorithm = "direct"}, kCount)), 0U);
  EXPECT_NE(differing(telling_sum({.count = 4, .algorithm = "ring"}, kCount)), 0U)
      << "the numbers would not tell";
}

TEST(AllReduceBits, WhatAutoMayChooseGivesTheDefaultsBits) {
  constexpr std::size_t kCount = 10'007;
  const auto expected = telling_sum({.count = 2, .hosts = "ab", .algorithm = "direct"}, kCount);
  for (const std::string algorithm : {"recursive-doubling", "halving-doubling"}) {
    const auto sum = telling_sum({.count = 2, .hosts = "ab", .algorithm = algorithm}, kCount);
    EXPECT_EQ(std::memcmp(sum.data(), expected.data(), kCount * sizeof(float)), 0) << algorithm;
  }
}

// A half that is rounded after each addition would stay at 256 (bfloat16), at 2048 (float16).
TEST(AllReduceBits, HalvesAreAddedInFloat32ByEveryAlgorithm) {
  for (const std::string& algorithm : algorithms_for("aaa")) {
    run_ranks({.count = 3, .hosts = "aaa", .algorithm = algorithm},
              [&](Communicator& communicator) {
                std::uint16_t brain = communicator.rank() == 0 ? 0x4380 : 0x3f80;  // 256 + 1 + 1
                communicator.all_reduce(&brain, 1, DType::kBFloat16, ReduceOp::kSum);
                EXPECT_EQ(brain, 0x4381) << algorithm;
                std::uint16_t half = communicator.rank() == 0 ? 0x6800 : 0x3c00;  // 2048 + 1 + 1
                communicator.all_reduce(&half, 1, DType::kFloat16, ReduceOp::kSum);
                EXPECT_EQ(half, 0x6801) << algorithm;
              });
  }
}

TEST(AllReduceSizes, MoreThanTwoGibibytesOfBytes) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the ThreadSanitizer keeps four bytes and more for each of these: 21 GB, measured";
#endif
  constexpr std::size_t kCount = (std::size_t{1} << 31) + 12'345;
  for (const std::string algorithm : {"shared-memory", "direct"}) {
    run_ranks({.count = 2, .algorithm = algorithm}, [&](Communicator& communicator) {
      std::vector<std::uint8_t> data(kCount);
      const std::size_t places[] = {0, (std::size_t{1} << 30) + 1, (std::size_t{1} << 31) - 1,
                                    (std::size_t{1} << 31) + 1, kCount - 1};
      for (const std::size_t place : places) {
        data[place] = static_cast<std::uint8_t>(10 + communicator.rank());
      }
      communicator.all_reduce(data.data(), kCount, DType::kUInt8, ReduceOp::kSum);
      for (const std::size_t place : places) {
        EXPECT_EQ(data[place], 21) << place << " " << algorithm;
      }
    });
  }
}

TEST(AllReduceSizes, PartitionsCoverEveryElementOnce) {
  for (const std::size_t count : {0UL, 1UL, 15UL, 16UL, 17UL, 1000UL, 3UL << 31}) {
    for (std::size_t parts = 1; parts < 10; ++parts) {
      const auto partition = Partition::even(count, parts, 4);
      std::size_t next = 0;
      for (std::size_t part = 0; part < parts; ++part) {
        EXPECT_EQ(partition.begin(part), next);
        EXPECT_EQ(partition.begin(part) % 16, part == 0 || next < count ? 0U : count % 16);
        EXPECT_LE(partition.size(part), partition.largest());
        next = partition.end(part);
      }
      EXPECT_EQ(next, count) << parts;
      EXPECT_EQ(partition.size(parts), 0U) << "a rank more has nothing";
    }
  }
}

TEST(AllReduceTraffic, EachHostSendsTheLeastThatItMust) {
  for (const std::string hosts : {"aabb", "aabbcc", "aaabbb"}) {
    const auto ranks = static_cast<int>(hosts.size());
    const std::size_t host_count = hosts.back() == 'c' ? 3 : 2;
    constexpr std::size_t kBytes =
        48 * 16 * 1024;  // divides by 2, 3 hosts and leaders in whole lines
    for (const std::string algorithm : {"direct", "ring", "halving-doubling"}) {
      if (host_count == 3 && algorithm == "halving-doubling") {
        continue;  // folding costs it more
      }
      std::vector<std::uint64_t> left(static_cast<std::size_t>(ranks));
      run_ranks({.count = ranks, .hosts = hosts, .algorithm = "hierarchical+" + algorithm},
                [&](Communicator& communicator) {
                  std::vector<float> data(kBytes / sizeof(float), 1.0F);
                  communicator.all_reduce(data.data(), data.size(), DType::kFloat32,
                                          ReduceOp::kSum);
                  left[static_cast<std::size_t>(communicator.rank())] =
                      communicator.traffic().between_hosts;
                });
      for (char host = 'a'; host < static_cast<char>('a' + host_count); ++host) {
        std::uint64_t total = 0;
        for (std::size_t rank = 0; rank < left.size(); ++rank) {
          total += hosts[rank] == host ? left[rank] : 0;
        }
        EXPECT_EQ(total, 2 * (host_count - 1) * kBytes / host_count) << hosts << " " << algorithm;
      }
    }
  }
}

}  // namespace
}  // namespace desta::runtime::testing
