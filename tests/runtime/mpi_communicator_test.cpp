// The MPI data plane, run with several ranks.
#include "runtime/collectives/mpi_communicator.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <thread>
#include <vector>

#include "actors_under_test.h"
#include "mpi_job.h"
#include "runtime/collectives/make_communicator.h"
#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace desta::runtime::testing {
namespace {

using std::chrono::milliseconds;

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

class MpiComm : public ::testing::Test {
 protected:
  const std::unique_ptr<Communicator> communicator_ =
      make_mpi_communicator(MPI_COMM_WORLD, {.timeout = std::chrono::seconds(30)});
  const int rank_ = communicator_->rank();
  const int size_ = communicator_->size();

  // Numbers of very different size, so that another order of sums shows in the bits.
  static std::vector<float> numbers_of(int rank, std::size_t count) {
    Random random(mix_seed(7, static_cast<std::uint64_t>(rank)));
    std::vector<float> numbers(count);
    for (float& number : numbers) {
      number = static_cast<float>(random.normal() * std::pow(10.0, random.uniform(-6, 6)));
    }
    return numbers;
  }
};

TEST_F(MpiComm, AllReduceGivesTheRankOrderedSumOnEveryRank) {
  // 5 million floats: three pieces, the last one odd.
  constexpr std::size_t kCount = 5'000'001;
  std::vector<float> expected = numbers_of(0, kCount);
  for (int rank = 1; rank < size_; ++rank) {
    const std::vector<float> other = numbers_of(rank, kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      expected[i] += other[i];
    }
  }
  for (int run = 0; run < 2; ++run) {
    std::vector<float> sum = numbers_of(rank_, kCount);
    communicator_->all_reduce(sum.data(), kCount, DType::kFloat32, ReduceOp::kSum);
    EXPECT_EQ(std::memcmp(sum.data(), expected.data(), kCount * sizeof(float)), 0);
  }
}

TEST_F(MpiComm, AverageIsIdenticalOnEveryRank) {
  for (const std::size_t count : {1UL, 3UL, 1000UL}) {
    std::vector<float> values(count, static_cast<float>(rank_ + 1));
    communicator_->all_reduce(values.data(), count, DType::kFloat32, ReduceOp::kAverage);
    for (const float value : values) {
      EXPECT_EQ(value, static_cast<float>(size_ + 1) / 2.0F);
    }
  }
  std::vector<std::uint16_t> halves(5, 0x3f80);  // bfloat16 1
  communicator_->all_reduce(halves.data(), 5, DType::kBFloat16, ReduceOp::kAverage);
  EXPECT_EQ(halves, std::vector<std::uint16_t>(5, 0x3f80));
}

TEST_F(MpiComm, AllReduceCountsTheRingBound) {
  constexpr std::size_t kCount = 48 << 16;  // in whole lines for 2, 3 and 4 ranks
  std::vector<float> values(kCount, 1.0F);
  const Traffic before = communicator_->traffic();
  communicator_->all_reduce(values.data(), kCount, DType::kFloat32, ReduceOp::kSum);
  const auto ranks = static_cast<std::uint64_t>(size_);
  const std::uint64_t bound = 2 * (ranks - 1) * kCount * sizeof(float) / ranks;
  EXPECT_EQ(communicator_->traffic().sent - before.sent, bound);
  EXPECT_EQ(communicator_->traffic().received - before.received, bound);
}

TEST_F(MpiComm, BroadcastReachesEveryRankAndCountsOneCopy) {
  const int root = size_ - 1;
  std::vector<std::int32_t> values(700'000);  // three pieces
  if (rank_ == root) {
    std::iota(values.begin(), values.end(), 5);
  }
  const Traffic before = communicator_->traffic();
  communicator_->broadcast(values.data(), values.size(), DType::kInt32, root);
  EXPECT_EQ(values.front(), 5);
  EXPECT_EQ(values.back(), 700'004);
  EXPECT_EQ(communicator_->traffic().received - before.received, rank_ == root ? 0U : 2'800'000U);
  EXPECT_EQ(communicator_->traffic().sent - before.sent,
            rank_ == root ? 2'800'000U * static_cast<std::uint64_t>(size_ - 1) : 0U)
      << "in shared memory all read the root's copy";
  EXPECT_EQ(communicator_->traffic().between_hosts, 0U);
}

TEST_F(MpiComm, BarrierHoldsUntilTheLastRankCame) {
  using Clock = std::chrono::system_clock;
  communicator_->barrier();
  if (rank_ == size_ - 1) {
    std::this_thread::sleep_for(milliseconds(100));
  }
  std::int64_t came = Clock::now().time_since_epoch().count();
  communicator_->barrier();
  const std::int64_t left = Clock::now().time_since_epoch().count();
  communicator_->all_reduce(&came, 1, DType::kInt64, ReduceOp::kMax);
  EXPECT_GE(left, came);
}

TEST_F(MpiComm, MessagesOfOneTagArriveInOrderAndCountTheirBytes) {
  const int next = (rank_ + 1) % size_;
  const int previous = (rank_ + size_ - 1) % size_;
  const Traffic before = communicator_->traffic();
  const std::vector<std::int64_t> first(100'000, rank_);
  const std::vector<std::int64_t> second(100'000, rank_ + 1000);
  const auto first_sent = communicator_->send_async(first.data(), 800'000, next, 3);
  const auto second_sent = communicator_->send_async(second.data(), 800'000, next, 3);
  std::vector<std::int64_t> received(100'000);
  communicator_->receive(received.data(), 800'000, previous, 3);
  EXPECT_EQ(received.back(), previous);
  communicator_->receive(received.data(), 800'000, previous, 3);
  EXPECT_EQ(received.back(), previous + 1000);
  first_sent->wait();
  second_sent->wait();
  EXPECT_TRUE(second_sent->done());
  const std::uint64_t wire = size_ == 1 ? 0 : 1'600'000;
  EXPECT_EQ(communicator_->traffic().sent - before.sent, wire);
  EXPECT_EQ(communicator_->traffic().received - before.received, wire);
}

TEST_F(MpiComm, ReceiveOfTheWrongSizeNamesThePeer) {
  if (size_ < 2) {
    GTEST_SKIP() << "needs two ranks";
  }
  for (const std::size_t sent : {64UL, 1'000'000UL}) {
    for (const std::size_t expected : {sent - 4, sent + 4}) {
      if (rank_ == 1) {
        const std::vector<std::byte> message(sent);
        communicator_->send(message.data(), sent, 0, 9);
      } else if (rank_ == 0) {
        std::vector<std::byte> buffer(expected);
        const std::string message = message_of<TransportError>(
            [&] { communicator_->receive(buffer.data(), expected, 1, 9); });
        EXPECT_NE(message.find("the message of rank 1 has"), std::string::npos) << message;
        EXPECT_NE(message.find(fmt::format("receive of {} bytes", expected)), std::string::npos);
      }
    }
  }
  communicator_->barrier();
}

TEST_F(MpiComm, TimeoutNamesTheOperationAndThePeer) {
  if (size_ < 2) {
    GTEST_SKIP() << "needs two ranks";
  }
  const auto hasty = make_mpi_communicator(MPI_COMM_WORLD, {.timeout = milliseconds(200)});
  if (rank_ == 0) {
    int value = 0;
    EXPECT_EQ(message_of<TransportError>([&] { hasty->receive(&value, sizeof(value), 1, 4); }),
              fmt::format("receive of 4 bytes from rank 1 (tag 4): rank 1 (host {}) did not send "
                          "within 0.2 s; is it still alive?",
                          host_name()));
    EXPECT_NE(message_of<TransportError>([&] {
                hasty->all_reduce(&value, 1, DType::kInt32, ReduceOp::kSum);
              }).find("all-reduce of 1 int32: rank"),
              std::string::npos);
  }
  communicator_->barrier();
}

TEST_F(MpiComm, SplitMakesGroupsOrderedByRank) {
  const auto group = communicator_->split(rank_ % 2);
  EXPECT_EQ(group->rank(), rank_ / 2);
  EXPECT_EQ(group->size(), (size_ + 1 - rank_ % 2) / 2);
  std::int64_t sum = rank_;
  group->all_reduce(&sum, 1, DType::kInt64, ReduceOp::kSum);
  std::int64_t expected = 0;
  for (int rank = rank_ % 2; rank < size_; rank += 2) {
    expected += rank;
  }
  EXPECT_EQ(sum, expected);
}

TEST_F(MpiComm, MessageOfMoreThanAGibibyteArrivesWhole) {
  if (size_ != 2) {
    GTEST_SKIP() << "two ranks are enough, and twice the memory is too much";
  }
  constexpr std::size_t kBytes = (std::size_t{1} << 30) + 12'345;
  std::vector<std::uint8_t> buffer(kBytes);
  if (rank_ == 0) {
    buffer.front() = 1;
    buffer[kBytes / 2] = 2;
    buffer.back() = 3;
    communicator_->send(buffer.data(), kBytes, 1, 0);
  } else {
    communicator_->receive(buffer.data(), kBytes, 0, 0);
    EXPECT_EQ(buffer.front(), 1);
    EXPECT_EQ(buffer[kBytes / 2], 2);
    EXPECT_EQ(buffer.back(), 3);
  }
  communicator_->barrier();
}

TEST(MakeCommunicator, ChoosesByNameAndExplainsWhatItCannotOffer) {
  EXPECT_EQ(make_communicator("auto", job())->backend(), job().size() == 1 ? "local" : "mpi");
  EXPECT_EQ(make_communicator("mpi", job())->backend(), "mpi");
  EXPECT_NE(message_of<ConfigError>([] {
              (void)make_communicator("gloo", job());
            }).find("choose auto, local, mpi or nccl"),
            std::string::npos);
  if (!std::filesystem::exists("/dev/nvidiactl")) {
    EXPECT_NE(message_of<ConfigError>([] {
                (void)make_communicator("nccl", job());
              }).find("choose 'mpi'"),
              std::string::npos);
  }
  if (job().size() > 1) {
    EXPECT_THROW((void)make_communicator("local", job()), ConfigError);
  }
}

}  // namespace
}  // namespace desta::runtime::testing
