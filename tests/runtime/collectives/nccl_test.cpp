// The NCCL backend against a double of NCCL and CUDA: which calls it makes, in which order.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "nccl_double.h"
#include "ranks_under_test.h"
#include "runtime/collectives/nccl_communicator.h"

namespace desta::runtime::testing {
namespace {

using Strings = std::vector<std::string>;

// Runs `body` as each of two ranks, and looks whether all calls were legal and nothing stayed open.
void run_nccl(const std::function<void(Communicator&, NcclDouble&)>& body,
              std::chrono::milliseconds timeout = 30s) {
  run_ranks({.count = 2, .timeout = timeout}, [&](Communicator& world) {
    NcclDouble nccl;
    {
      const auto communicator = make_nccl_communicator(
          world.split(0), {.device = world.rank(), .timeout = timeout, .api = &NcclDouble::api()});
      body(*communicator, nccl);
    }
    EXPECT_EQ(nccl.violations, Strings());
    EXPECT_EQ(nccl.left_open(), Strings());
  });
}

TEST(Nccl, EachOperationIsOneCallBehindTheDefaultStream) {
  run_nccl([](Communicator& communicator, NcclDouble& nccl) {
    EXPECT_EQ(nccl.joined, 3);  // collectives, and messages in both directions
    float data[8] = {};
    communicator.all_reduce(data, 5, DType::kFloat32, ReduceOp::kSum);
    communicator.reduce_scatter(data, data, 2, DType::kBFloat16, ReduceOp::kAverage);
    communicator.all_gather(data, data, 3, DType::kInt64);
    communicator.broadcast(data, 7, DType::kUInt8, 1);
    const auto first =
        communicator.all_reduce_async(data, data, 1, DType::kFloat16, ReduceOp::kMax);
    const auto second =
        communicator.all_reduce_async(data, data, 2, DType::kFloat16, ReduceOp::kMin);
    second->wait();
    EXPECT_TRUE(first->done());
    communicator.barrier();
    const int other = 1 - communicator.rank();
    const auto sent = communicator.send_async(data, 4, other, 0);
    communicator.receive(data, 4, other, 0);
    sent->wait();
    EXPECT_EQ(nccl.operations,
              (Strings{"all_reduce 5", "reduce_scatter 2", "all_gather 3", "broadcast 7",
                       "all_reduce 1", "all_reduce 2", fmt::format("send 4 to {}", other),
                       fmt::format("receive 4 from {}", other)}));
    EXPECT_EQ(communicator.traffic().sent,
              20U + 4 + 24 + (communicator.rank() == 1 ? 7U : 0U) + 2 + 4 + 4);
    EXPECT_EQ(thrown_by([&] { communicator.send(data, 4, communicator.rank(), 0); }),
              fmt::format("rank {} cannot send to itself over NCCL", communicator.rank()));
  });
}

TEST(Nccl, AllocatedMemoryIsKnownToItAsLongAsItLives) {
  run_nccl([](Communicator& communicator, NcclDouble& nccl) {
    SharedBuffer first = communicator.allocate(1000);
    const SharedBuffer second = communicator.allocate(500);
    EXPECT_EQ(first.size(), 1000U);
    EXPECT_EQ(nccl.memory.size(), 2U);
    first = {};
    EXPECT_EQ(nccl.memory.size(), 1U);
  });
  // It may outlive its communicator.
  SharedBuffer kept;
  run_ranks({.count = 1}, [&](Communicator& world) {
    NcclDouble nccl;
    kept = make_nccl_communicator(world.split(0), {.api = &NcclDouble::api()})->allocate(100);
    kept = {};
    EXPECT_EQ(nccl.violations, Strings());
    EXPECT_EQ(nccl.left_open(), Strings());
  });
}

TEST(Nccl, AnAsynchronousErrorAbortsAndMakesTheCommunicatorAnew) {
  run_nccl([](Communicator& communicator, NcclDouble& nccl) {
    const SharedBuffer kept = communicator.allocate(100);
    float data[4] = {};
    const auto work = communicator.all_reduce_async(data, data, 4, DType::kFloat32, ReduceOp::kSum);
    nccl.asynchronous_error = ncclRemoteError;
    // The new communicators are sound.
    const std::string message = thrown_by([&] {
      try {
        work->wait();
      } catch (...) {
        nccl.asynchronous_error = ncclSuccess;
        throw;
      }
    });
    EXPECT_NE(message.find("all-reduce of 4 float32: NCCL:"), std::string::npos) << message;
    EXPECT_NE(message.find("communicator was made anew"), std::string::npos) << message;
    EXPECT_EQ(nccl.aborted, 3);
    EXPECT_EQ(nccl.joined, 6);
    communicator.all_reduce(data, 3, DType::kFloat32, ReduceOp::kSum);
    EXPECT_EQ(nccl.operations.back(), "all_reduce 3");
  });
}

TEST(Nccl, AnOperationThatNeverEndsIsAborted) {
  run_nccl(
      [](Communicator& communicator, NcclDouble& nccl) {
        nccl.hangs = true;
        float data[4] = {};
        const std::string message =
            thrown_by([&] { communicator.all_reduce(data, 4, DType::kFloat32, ReduceOp::kSum); });
        EXPECT_NE(message.find("all-reduce of 4 float32: not finished within 0.5 s"),
                  std::string::npos)
            << message;
        EXPECT_EQ(nccl.aborted, 3);
        nccl.hangs = false;
      },
      500ms);
}

TEST(Nccl, ARankThatIsMissingAfterAnErrorIsNamed) {
  run_ranks({.count = 2, .timeout = 500ms}, [&](Communicator& world) {
    NcclDouble nccl;
    const auto communicator = make_nccl_communicator(
        world.split(0), {.device = 0, .timeout = 500ms, .api = &NcclDouble::api()});
    if (world.rank() == 1) {
      std::this_thread::sleep_for(1500ms);
      return;
    }
    nccl.hangs = true;
    float data = 0;
    const std::string message =
        thrown_by([&] { communicator->all_reduce(&data, 1, DType::kFloat32, ReduceOp::kSum); });
    EXPECT_NE(message.find("rank 1 (host a) did not answer"), std::string::npos) << message;
    EXPECT_EQ(nccl.aborted, 3);
    EXPECT_EQ(nccl.violations, Strings());
    EXPECT_NE(thrown_by([&] {
                communicator->all_reduce(&data, 1, DType::kFloat32, ReduceOp::kSum);
              }).find("aborted"),
              std::string::npos);
  });
}

TEST(Nccl, AJoinThatNeverEndsIsAborted) {
  run_ranks({.count = 2, .timeout = 400ms}, [&](Communicator& world) {
    NcclDouble nccl;
    nccl.polls_until_joined = 1 << 30;
    EXPECT_NE(thrown_by([&] {
                (void)make_nccl_communicator(
                    world.split(0), {.device = 0, .timeout = 400ms, .api = &NcclDouble::api()});
              }).find("joining the communicator: not begun within 0.4 s"),
              std::string::npos);
    EXPECT_EQ(nccl.violations, Strings());
    EXPECT_EQ(nccl.left_open(), Strings());
  });
}

}  // namespace
}  // namespace desta::runtime::testing
