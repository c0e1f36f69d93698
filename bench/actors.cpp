// What calls cost: our side of bench/actors.sh, which runs the peers (CAF, MPI) beside it. One JSON
// line for each figure, named as in bench/peers/caf_actors.cpp, whose head says what each one times.
//
//   bench_actors local                      one process
//   mpirun -n 2 bench_actors remote         two ranks
//   mpirun -n 4 bench_actors idle           a job that waits
#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "runtime/actor/actor_system.h"
#include "runtime/core/log.h"
#include "runtime/transport/in_process_transport.h"
#include "runtime/transport/mpi_transport.h"

namespace {

using namespace desta::runtime;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void report(const std::string& what, double value, const std::string& unit) {
  fmt::print("{{\"system\": \"desta\", \"what\": \"{}\", \"value\": {:.6g}, \"unit\": \"{}\"}}\n",
             what, value, unit);
  std::fflush(stdout);
}

struct Payload {  // 64 bytes
  std::array<std::uint64_t, 8> words{};
  template <class Archive>
  void serialize(Archive& archive) {
    archive(words);
  }
};

class Echo {
 public:
  int next(int value) { return value + 1; }
  Payload echo(const Payload& payload) { return payload; }
  std::uint64_t take(const Buffer& buffer) { return buffer.size(); }
  Buffer bounce(const Buffer& buffer) { return buffer; }
};

// Calls another actor again and again, each time waiting for the answer.
class Driver {
 public:
  Task<int> drive(ActorRef<Echo> echo, int calls) {
    int value = 0;
    while (value < calls) {
      value = co_await echo.call<&Echo::next>(value);
    }
    co_return value;
  }
};

void register_types() {
  actor_type<Echo>("Echo")
      .constructor<>()
      .method<&Echo::next>("next")
      .method<&Echo::echo>("echo")
      .method<&Echo::take>("take")
      .method<&Echo::bounce>("bounce");
  actor_type<Driver>("Driver").constructor<>().method<&Driver::drive>("drive");
}

std::uint64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t pages = 0;
  std::uint64_t resident = 0;
  file >> pages >> resident;
  return resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void closed_loop(ActorSystem& system) {
  constexpr int kCalls = 200'000;
  const auto echo = system.spawn<Echo>({});
  const auto driver = system.spawn<Driver>({});
  for (const bool warm_up : {true, false}) {
    auto start = Clock::now();
    for (int call = 0; call < kCalls; ++call) {
      (void)echo.call<&Echo::next>(call).get();
    }
    const double blocking = kCalls / seconds_since(start);
    start = Clock::now();
    (void)driver.call<&Driver::drive>(echo, kCalls).get();
    const double actors = kCalls / seconds_since(start);
    if (!warm_up) {
      report("local_closed_loop_from_program", blocking, "calls/s");
      report("local_closed_loop_from_actor", actors, "calls/s");
    }
  }
}

void pipelined(ActorSystem& system) {
  constexpr int kOutstanding = 10'000;
  constexpr int kRounds = 50;
  const auto echo = system.spawn<Echo>({.max_pending_calls = kOutstanding});
  std::vector<Future<int>> calls;
  const auto round = [&] {
    calls.clear();
    for (int call = 0; call < kOutstanding; ++call) {
      calls.push_back(echo.call<&Echo::next>(call));
    }
    wait_all(calls);
  };
  round();
  const auto start = Clock::now();
  for (int i = 0; i < kRounds; ++i) {
    round();
  }
  report("local_pipelined_one_to_one", kOutstanding * kRounds / seconds_since(start), "calls/s");
}

void thousand(ActorSystem& system) {
  constexpr int kActors = 1000;
  constexpr int kCallsEach = 100;
  std::vector<ActorRef<Echo>> actors;
  for (int actor = 0; actor < kActors; ++actor) {
    actors.push_back(system.spawn<Echo>({}));
  }
  std::vector<Future<int>> calls;
  const auto round = [&] {
    calls.clear();
    for (int call = 0; call < kCallsEach; ++call) {
      for (const auto& actor : actors) {
        calls.push_back(actor.call<&Echo::next>(call));
      }
    }
    wait_all(calls);
  };
  round();
  const auto start = Clock::now();
  for (int i = 0; i < 5; ++i) {
    round();
  }
  report("local_pipelined_1000_actors", 5.0 * kActors * kCallsEach / seconds_since(start),
         "calls/s");
}

void memory(ActorSystem& system) {
  constexpr int kActors = 100'000;
  std::vector<ActorRef<Echo>> actors;
  actors.reserve(kActors);
  const std::uint64_t before = resident_bytes();
  for (int actor = 0; actor < kActors; ++actor) {
    actors.push_back(system.spawn<Echo>({}));
  }
  for (const auto& actor : actors) {
    actor.ready().get();
  }
  const std::uint64_t after = resident_bytes();
  report("memory_per_idle_actor", static_cast<double>(after - before) / kActors, "bytes");
}

void short_lives(ActorSystem& system) {
  constexpr int kActors = 10'000;
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const auto start = Clock::now();
    std::vector<Future<int>> answers;
    std::vector<Future<void>> ends;
    for (int actor = 0; actor < kActors; ++actor) {
      const auto echo = system.spawn<Echo>({});
      answers.push_back(echo.call<&Echo::next>(actor));
      ends.push_back(echo.terminate());
    }
    wait_all(answers);
    wait_all(ends);
    best = std::min(best, seconds_since(start));
  }
  report("10000_actors_spawned_called_ended", best, "s");
}

void run_local() {
  InProcessNetwork network(1);
  ActorSystem system(network.node(0));
  closed_loop(system);
  pipelined(system);
  thousand(system);
  short_lives(system);
  memory(system);
  system.shutdown();
}

void small_calls(ActorSystem& system) {
  constexpr int kCalls = 20'000;
  const auto echo = system.spawn<Echo>({.name = "echo", .node = 1});
  std::vector<double> microseconds;
  for (int call = -2000; call < kCalls; ++call) {
    const auto start = Clock::now();
    (void)echo.call<&Echo::echo>(Payload{}).get();
    if (call >= 0) {
      microseconds.push_back(1e6 * seconds_since(start));
    }
  }
  std::ranges::sort(microseconds);
  report("remote_call_64B_median", microseconds[kCalls / 2], "us");
  report("remote_call_64B_p99", microseconds[kCalls * 99 / 100], "us");
}

void large_payloads(ActorSystem& system) {
  constexpr std::size_t kBytes = std::size_t{16} << 20;
  constexpr int kRounds = 50;
  const auto echo = system.get_actor<Echo>("echo");
  BufferBuilder builder(kBytes);
  std::ranges::fill(builder.bytes(), std::byte{'x'});
  const Buffer buffer = std::move(builder).finish();
  for (int round = 0; round < 5; ++round) {
    (void)echo.call<&Echo::bounce>(buffer).get();
  }
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = Clock::now();
    (void)echo.call<&Echo::bounce>(buffer).get();
    seconds.push_back(seconds_since(start));
  }
  std::ranges::sort(seconds);
  report("remote_16MiB_bandwidth", 2.0 * kBytes / seconds[kRounds / 2] / 1e9, "GB/s");
}

void run_remote() {
  MpiEnvironment mpi;
  init_logging(mpi.rank());
  const auto transport = make_mpi_transport(mpi);
  ActorSystem system(*transport);
  if (system.node() != 0) {
    system.run_until_shutdown();
    return;
  }
  small_calls(system);
  large_payloads(system);
  system.shutdown();
}

// A job that waits: what it costs, and how fast it is when something comes at last.
void run_idle() {
  MpiEnvironment mpi;
  init_logging(mpi.rank());
  const auto transport = make_mpi_transport(mpi);
  ActorSystem system(*transport);
  static constexpr double kIdle = 10;
  if (system.node() != 0) {
    std::thread watch([rank = mpi.rank()] {
      std::this_thread::sleep_for(std::chrono::seconds(3));
      const double before = cpu_seconds();
      std::this_thread::sleep_for(std::chrono::duration<double>(kIdle));
      report(fmt::format("idle_rank_{}_share_of_a_core", rank),
             100 * (cpu_seconds() - before) / kIdle, "%");
    });
    system.run_until_shutdown();
    watch.join();
    return;
  }
  const auto last = system.node_count() - 1;
  const auto echo = system.spawn<Echo>({.name = "echo", .node = last});
  (void)echo.call<&Echo::next>(1).get();
  std::this_thread::sleep_for(std::chrono::seconds(3));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::duration<double>(kIdle));
  report("idle_rank_0_share_of_a_core", 100 * (cpu_seconds() - before) / kIdle, "%");
  std::vector<double> microseconds;
  for (int round = 0; round < 50; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const auto start = Clock::now();
    (void)echo.call<&Echo::next>(1).get();
    microseconds.push_back(1e6 * seconds_since(start));
  }
  std::ranges::sort(microseconds);
  report("first_call_after_idling_median", microseconds[25], "us");
  report("first_call_after_idling_worst_of_50", microseconds.back(), "us");
  system.shutdown();
}

}  // namespace

int main(int argc, char** argv) {
  register_types();
  const std::string what = argc == 2 ? argv[1] : "";
  if (what == "local") {
    run_local();
  } else if (what == "remote") {
    run_remote();
  } else if (what == "idle") {
    run_idle();
  } else {
    fmt::print(stderr, "usage: bench_actors local | remote | idle (the last two under mpirun)\n");
    return 2;
  }
  return 0;
}
