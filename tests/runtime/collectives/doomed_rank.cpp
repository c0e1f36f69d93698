// A job under mpirun of which one rank ends or stops in the middle of a collective:
//   doomed_rank KILL|STOP COLLECTIVE ALGORITHM HOSTS
// All ranks repeat the collective; after a while rank 1 sends itself the signal. Each other rank
// prints "rank R after MS ms: MESSAGE", where MS counts from the signal, which rank 1 writes down
// for them.
#include <fmt/core.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "runtime/collectives/make_communicator.h"
#include "runtime/core/error.h"
#include "runtime/core/shared_segment.h"
#include "runtime/core/wire.h"

using namespace desta::runtime;
using namespace std::chrono_literals;

namespace {

constexpr int kDoomed = 1;

std::int64_t now_in_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void repeat(Communicator& communicator, const std::string& collective, std::vector<float>& data) {
  const auto ranks = static_cast<std::size_t>(communicator.size());
  const std::size_t part = data.size() / ranks;
  while (true) {
    if (collective == "all-reduce") {
      communicator.all_reduce(data.data(), data.size(), DType::kFloat32, ReduceOp::kMax);
    } else if (collective == "small-all-reduce") {
      communicator.all_reduce(data.data(), 4, DType::kFloat32, ReduceOp::kMax);
    } else if (collective == "reduce-scatter") {
      std::vector<float> mine(part);
      communicator.reduce_scatter(data.data(), mine.data(), part, DType::kFloat32, ReduceOp::kMax);
    } else if (collective == "all-gather") {
      const std::vector<float> mine(part);
      communicator.all_gather(mine.data(), data.data(), part, DType::kFloat32);
    } else if (collective == "broadcast") {
      communicator.broadcast(data.data(), data.size(), DType::kFloat32, kDoomed);
    } else {
      communicator.barrier();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int signal_number = std::string(argv[1]) == "KILL" ? SIGKILL : SIGSTOP;
  MpiEnvironment job(&argc, &argv);
  CommunicatorOptions options;
  // The end of a process is seen, not waited for.
  options.timeout = signal_number == SIGKILL ? 60s : 500ms;
  options.algorithm = argv[3];
  options.tables.clear();
  if (std::stoi(argv[4]) > 1) {
    options.host = job.rank() < job.size() / 2 ? "a" : "b";
  }
  // Rank 1 writes the time of the signal where the others can see it.
  SharedSegment clock = SharedSegment::create(sizeof(std::int64_t));
  const auto clocks = job.all_gather(pack(clock.address()));
  const auto seen = SharedSegment::open(unpack<SharedSegment::Address>(clocks[kDoomed]),
                                        SharedSegment::Access::kWrite);
  auto& time = *reinterpret_cast<std::atomic<std::int64_t>*>(
      job.rank() == kDoomed ? clock.memory().get() : seen->memory().get());
  const auto processes = job.all_gather(std::to_string(getpid()));

  const auto communicator = make_communicator("mpi", job, options);
  std::vector<float> data(200'000);
  std::thread doom;
  if (job.rank() == kDoomed) {
    doom = std::thread([&] {
      std::this_thread::sleep_for(150ms);
      time = now_in_ms();
      ::raise(signal_number);
    });
  }
  try {
    repeat(*communicator, argv[2], data);
  } catch (const TransportError& error) {
    fmt::print("rank {} after {} ms: {}\n", job.rank(), now_in_ms() - time.load(), error.what());
    std::fflush(stdout);
  }
  // Whoever stopped is no use any more; the others have a moment to say what they have seen.
  std::this_thread::sleep_for(300ms);
  ::kill(std::stoi(processes[kDoomed]), SIGKILL);
  std::_Exit(0);
}
