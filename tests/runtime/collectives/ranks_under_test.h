// Ranks as threads, each with a communicator, and buffers whose reductions are known exactly.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/collectives/group_communicator.h"
#include "runtime/core/error.h"
#include "thread_links.h"

namespace desta::runtime::testing {

using namespace std::chrono_literals;

// The host of each rank: "aabb" is two hosts of two. All on "a" by default.
struct Ranks {
  int count = 1;
  std::string hosts = {};
  std::string algorithm = "auto";
  std::chrono::milliseconds timeout = 30s;
};

// Runs `body` as every rank and waits for all. What a rank throws fails the test.
inline void run_ranks(const Ranks& ranks, const std::function<void(Communicator&)>& body) {
  auto links = make_thread_links(ranks.count);
  std::vector<std::string> errors(links.size());
  std::vector<std::thread> threads;
  for (std::size_t rank = 0; rank < links.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        GroupOptions options;
        options.backend = "threads";
        options.timeout = ranks.timeout;
        options.algorithm = ranks.algorithm;
        options.host = ranks.hosts.empty() ? "a" : ranks.hosts.substr(rank, 1);
        const auto communicator = make_group_communicator(std::move(links[rank]), options);
        body(*communicator);
      } catch (const std::exception& error) {
        errors[rank] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  for (std::size_t rank = 0; rank < errors.size(); ++rank) {
    EXPECT_EQ(errors[rank], "") << "rank " << rank;
  }
}

inline std::string thrown_by(const std::function<void()>& action) {
  try {
    action();
  } catch (const TransportError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// Small whole numbers, which every type holds exactly; their sums stay below 256, where bfloat16
// ends. Each is a multiple of the number of ranks, so that the average is whole, too.
inline int number_at(std::size_t i, int rank, int ranks) {
  return ranks * static_cast<int>((i + 2 * static_cast<std::size_t>(rank)) % 3);
}

inline int reduced_at(std::size_t i, int ranks, ReduceOp op) {
  int sum = 0;
  int most = 0;
  int least = 1 << 20;
  for (int rank = 0; rank < ranks; ++rank) {
    const int number = number_at(i, rank, ranks);
    sum += number;
    most = std::max(most, number);
    least = std::min(least, number);
  }
  switch (op) {
    case ReduceOp::kSum:
      return sum;
    case ReduceOp::kAverage:
      return sum / ranks;
    case ReduceOp::kMax:
      return most;
    case ReduceOp::kMin:
      return least;
  }
  return -1;
}

// Writes and reads whole numbers below 256 as elements of any type, at any address.
void store(void* data, std::size_t i, DType dtype, int number);
[[nodiscard]] int load(const void* data, std::size_t i, DType dtype);

}  // namespace desta::runtime::testing
