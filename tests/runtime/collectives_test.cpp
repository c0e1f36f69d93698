// The arithmetic of reductions and the communicator of one rank.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "runtime/collectives/local_communicator.h"
#include "runtime/collectives/reduction.h"
#include "runtime/core/error.h"

namespace desta::runtime {
namespace {

using Half = std::uint16_t;

template <typename T>
T reduce(const std::vector<T>& values, DType dtype, ReduceOp op) {
  std::vector<const void*> contributions;
  for (const T& value : values) {
    contributions.push_back(&value);
  }
  T result{};
  reduce_contributions(contributions, &result, 1, dtype, op);
  return result;
}

TEST(Reduction, SumsAveragesAndFindsExtremes) {
  const std::vector<float> values = {1.0F, 2.0F, 6.0F};
  EXPECT_EQ(reduce(values, DType::kFloat32, ReduceOp::kSum), 9.0F);
  EXPECT_EQ(reduce(values, DType::kFloat32, ReduceOp::kAverage), 3.0F);
  EXPECT_EQ(reduce(values, DType::kFloat32, ReduceOp::kMax), 6.0F);
  EXPECT_EQ(reduce(values, DType::kFloat32, ReduceOp::kMin), 1.0F);
  EXPECT_EQ(reduce<std::int64_t>({1LL << 40, 1}, DType::kInt64, ReduceOp::kSum), (1LL << 40) + 1);
}

TEST(Reduction, AddsInRankOrder) {
  // (1e8 + 1) - 1e8 is 0 in float32, (1e8 - 1e8) + 1 is 1.
  EXPECT_EQ(reduce<float>({1e8F, 1.0F, -1e8F}, DType::kFloat32, ReduceOp::kSum), 0.0F);
  EXPECT_EQ(reduce<float>({1e8F, -1e8F, 1.0F}, DType::kFloat32, ReduceOp::kSum), 1.0F);
}

TEST(Reduction, AddsBFloat16InFloat32) {
  // 256 = 0x4380, 1 = 0x3f80. In bfloat16 256 + 1 is 256 again; in float32 256 + 1 + 1 = 258 =
  // 0x4381.
  EXPECT_EQ(reduce<Half>({0x4380, 0x3f80, 0x3f80}, DType::kBFloat16, ReduceOp::kSum), 0x4381);
}

TEST(Reduction, AddsFloat16InFloat32) {
  // 2048 = 0x6800, 1 = 0x3c00. In float16 2048 + 1 is 2048 again; in float32 2048 + 1 + 1 = 2050 =
  // 0x6801.
  EXPECT_EQ(reduce<Half>({0x6800, 0x3c00, 0x3c00}, DType::kFloat16, ReduceOp::kSum), 0x6801);
}

TEST(Reduction, RoundsHalfTypesToNearestEven) {
  // 256 + 1 = 257 lies between 256 and 258; 258 + 1 = 259 between 258 and 260 = 0x4382.
  EXPECT_EQ(reduce<Half>({0x4380, 0x3f80}, DType::kBFloat16, ReduceOp::kSum), 0x4380);
  EXPECT_EQ(reduce<Half>({0x4381, 0x3f80}, DType::kBFloat16, ReduceOp::kSum), 0x4382);
  // The same in float16 about 2048 and 2050 (2052 = 0x6802).
  EXPECT_EQ(reduce<Half>({0x6800, 0x3c00}, DType::kFloat16, ReduceOp::kSum), 0x6800);
  EXPECT_EQ(reduce<Half>({0x6801, 0x3c00}, DType::kFloat16, ReduceOp::kSum), 0x6802);
}

TEST(Reduction, KeepsEveryFloat16AsItIs) {
  for (unsigned bits = 0; bits <= 0xffff; ++bits) {
    const bool nan = (bits & 0x7c00U) == 0x7c00U && (bits & 0x3ffU) != 0;
    const Half result = reduce<Half>({static_cast<Half>(bits)}, DType::kFloat16, ReduceOp::kSum);
    if (nan) {
      EXPECT_TRUE((result & 0x7c00U) == 0x7c00U && (result & 0x3ffU) != 0) << bits;
    } else {
      EXPECT_EQ(result, bits);
    }
  }
}

TEST(Reduction, OverflowOfAHalfTypeIsInfinity) {
  EXPECT_EQ(reduce<Half>({0x7bff, 0x7bff}, DType::kFloat16, ReduceOp::kSum), 0x7c00);
  EXPECT_EQ(reduce<Half>({0xff7f, 0xff7f}, DType::kBFloat16, ReduceOp::kSum), 0xff80);
}

TEST(LocalCommunicator, SendToSelfIsReceivedInOrder) {
  const auto communicator = make_local_communicator();
  const std::array<int, 2> sent = {1, 2};
  communicator->send(&sent[0], sizeof(int), 0, 5);
  communicator->send(&sent[1], sizeof(int), 0, 5);
  int first = 0;
  int second = 0;
  communicator->receive(&first, sizeof(int), 0, 5);
  communicator->receive(&second, sizeof(int), 0, 5);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 2);
}

TEST(LocalCommunicator, WrongSizeAndWrongRankAreErrors) {
  const auto communicator = make_local_communicator();
  const std::array<char, 8> sent{};
  std::array<char, 8> buffer{};
  communicator->send(sent.data(), 8, 0, 1);
  EXPECT_THROW(communicator->receive(buffer.data(), 4, 0, 1), TransportError);
  EXPECT_THROW(communicator->receive(buffer.data(), 4, 0, 1), TransportError) << "nothing was sent";
  EXPECT_THROW(communicator->send(sent.data(), 8, 1, 1), TransportError);
}

TEST(LocalCommunicator, AllReduceOfOneChangesNothing) {
  const auto communicator = make_local_communicator();
  float value = 3.0F;
  communicator->all_reduce(&value, 1, DType::kFloat32, ReduceOp::kAverage);
  EXPECT_EQ(value, 3.0F);
  EXPECT_EQ(communicator->traffic().sent, 0U);
}

}  // namespace
}  // namespace desta::runtime
