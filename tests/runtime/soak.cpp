// Calls without end between the ranks of a job and two workers that are killed and come back every
// second: no call may be lost or run oftener than its options allow, and memory may not grow.
//
//   mpirun -n 4 runtime_soak 10000000          calls, and as many more as come before the second kill
//
// The first rank starts the workers (this program again). Ends with 1, and says what was wrong, when
// a promise is broken.
#include <fmt/core.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/actor/actor_system.h"
#include "runtime/core/log.h"
#include "runtime/transport/elastic_transport.h"
#include "runtime/transport/mpi_transport.h"

extern char** environ;

namespace {

using namespace desta::runtime;
using Clock = std::chrono::steady_clock;

constexpr int kWorkers = 2;
constexpr std::size_t kWindow = 256;  // calls that a caller has out at a time
constexpr std::size_t kFewestKills = 2;
// What a rank's memory may grow by after the first fifth: measured 1 to 2 MB over ten million calls.
constexpr double kMostGrowthMegabytes = 16;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;  // sanitizers keep what was freed
#else
constexpr bool kMemoryIsOurs = true;
#endif

struct Padded {
  std::uint64_t number = 0;
  std::string text;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, text);
  }
};

double resident_megabytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0;
  double resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

// Counts what runs, on a rank that is never lost.
class Ledger {
 public:
  explicit Ledger(std::uint64_t calls) : runs_(calls) {}
  void mark(std::uint64_t number) { ++runs_.at(number); }
  [[nodiscard]] std::uint8_t runs(std::uint64_t number) { return runs_.at(number); }

 private:
  std::vector<std::uint8_t> runs_;
};

// Does a call's work: says so in the ledger, if it is on a worker, and answers.
class Target {
 public:
  explicit Target(ActorRef<Ledger> ledger) : ledger_(std::move(ledger)) {}
  Padded serve(const Padded& call) {
    ++served_;
    return call;
  }
  Padded serve_and_mark(const Padded& call) {
    (void)ledger_.with({.wait_for_room = true}).call<&Ledger::mark>(call.number);
    return call;
  }
  [[nodiscard]] std::uint64_t served() const { return served_; }
  [[nodiscard]] double memory() const { return resident_megabytes(); }

 private:
  ActorRef<Ledger> ledger_;
  std::uint64_t served_ = 0;
};

// What became of a caller's calls.
struct Tally {
  std::uint64_t answered = 0;
  std::uint64_t wrong = 0;        // answers to another call
  std::uint64_t unavailable = 0;  // the worker was lost meanwhile
  std::vector<std::uint64_t> answered_by_worker;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(answered, wrong, unavailable, answered_by_worker);
  }
};

class Caller {
 public:
  // Calls `targets` in turn, `calls` times, with kWindow out at a time.
  Tally call_ranks(std::vector<ActorRef<Target>> targets, std::uint64_t calls) {
    Tally tally;
    run(calls, 0, tally, [&](const Padded& call) {
      return targets[call.number % targets.size()].call<&Target::serve>(call);
    });
    return tally;
  }
  Tally call_worker(ActorRef<Target> target, std::uint64_t first, std::uint64_t calls) {
    Tally tally;
    run(calls, first, tally,
        [&](const Padded& call) { return target.call<&Target::serve_and_mark>(call); }, true);
    return tally;
  }

 private:
  template <typename Make>
  void run(std::uint64_t calls, std::uint64_t first, Tally& tally, const Make& make,
           bool remember = false) {
    std::vector<std::pair<std::uint64_t, Future<Padded>>> out;
    const auto settle = [&] {
      for (auto& [number, future] : out) {
        try {
          const Padded answer = future.get();
          ++tally.answered;
          tally.wrong += answer.number != number ? 1 : 0;
          if (remember) {
            tally.answered_by_worker.push_back(number);
          }
        } catch (const ActorUnavailable&) {
          ++tally.unavailable;
        }
      }
      out.clear();
    };
    for (std::uint64_t call = 0; call < calls; ++call) {
      const Padded value{first + call, std::string(call % 48, 'x')};
      out.emplace_back(value.number, make(value));
      if (out.size() == kWindow) {
        settle();
      }
    }
    settle();
  }
};

void register_types() {
  actor_type<Ledger>("Ledger")
      .constructor<std::uint64_t>()
      .method<&Ledger::mark>("mark")
      .method<&Ledger::runs>("runs");
  actor_type<Target>("Target")
      .constructor<ActorRef<Ledger>>()
      .method<&Target::serve>("serve")
      .method<&Target::serve_and_mark>("serve_and_mark")
      .method<&Target::memory>("memory")
      .method<&Target::served>("served");
  actor_type<Caller>("Caller")
      .constructor<>()
      .method<&Caller::call_ranks>("call_ranks")
      .method<&Caller::call_worker>("call_worker");
}

// What each rank holds now.
std::vector<double> memory_of(const std::vector<ActorRef<Target>>& targets) {
  std::vector<double> megabytes;
  for (const auto& target : targets) {
    megabytes.push_back(target.call<&Target::memory>().get());
  }
  return megabytes;
}

// The workers as processes; one is killed and started anew every second.
class Herd {
 public:
  Herd(std::string program, std::string address, std::string token)
      : program_(std::move(program)), address_(std::move(address)), token_(std::move(token)) {
    for (pid_t& worker : workers_) {
      worker = start();
    }
  }
  ~Herd() {
    for (const pid_t worker : workers_) {
      end(worker);
    }
  }
  Herd(const Herd&) = delete;
  Herd& operator=(const Herd&) = delete;

  void kill_one() {
    pid_t& worker = workers_[kills_++ % kWorkers];
    end(worker);
    worker = start();
  }
  [[nodiscard]] std::size_t kills() const { return kills_; }

 private:
  pid_t start() {
    std::vector<std::string> words = {program_, "worker", address_, token_};
    std::vector<char*> arguments;
    for (std::string& word : words) {
      arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    pid_t process = 0;
    if (posix_spawn(&process, program_.c_str(), nullptr, nullptr, arguments.data(), environ) != 0) {
      throw InternalError("{} cannot be started", program_);
    }
    return process;
  }
  static void end(pid_t worker) {
    ::kill(worker, SIGKILL);
    waitpid(worker, nullptr, 0);
  }

  const std::string program_;
  const std::string address_;
  const std::string token_;
  std::array<pid_t, kWorkers> workers_{};
  std::atomic<std::size_t> kills_ = 0;
};

int run_worker(const std::string& address, const std::string& token) {
  JoinedTransport transport(address, JoinToken::read(token), {});
  init_logging(transport.node());
  ActorSystem system(transport);
  (void)system.run_until_shutdown();
  return 0;
}

// A target on whichever worker there is, restarted on another when that is lost; null when there is
// none just now.
std::vector<ActorRef<Target>> worker_targets(ActorSystem& system, const ActorRef<Ledger>& ledger,
                                             int retries, const std::string& kind) {
  std::vector<ActorRef<Target>> targets;
  for (const NodeInfo& node : system.nodes()) {
    if (node.kind == NodeKind::kJoined && node.state == NodeState::kAlive) {
      try {
        targets.push_back(system.spawn<Target>({.name = fmt::format("{}/{}", kind, node.node),
                                                .node = node.node,
                                                .max_restarts = -1,
                                                .max_task_retries = retries},
                                               ledger));
      } catch (const Error&) {
        // The node was lost, or its target of an earlier round is there still.
      }
    }
  }
  return targets;
}

int drive(ActorSystem& system, ElasticTransport& transport, const std::string& program,
          std::uint64_t calls) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("soak-{}", getpid());
  std::filesystem::create_directories(folder);
  const std::string token = (folder / "token").string();
  transport.listen({"127.0.0.1:0"}, JoinToken::create(token), {});
  const auto ledger = system.spawn<Ledger>({.name = "ledger", .own_thread = true}, 2 * calls);
  const int ranks = system.node_count();
  std::vector<ActorRef<Target>> targets;
  std::vector<ActorRef<Caller>> callers;
  for (int rank = 0; rank < ranks; ++rank) {
    targets.push_back(
        system.spawn<Target>({.name = fmt::format("target/{}", rank), .node = rank}, ledger));
    callers.push_back(system.spawn<Caller>(
        {.name = fmt::format("caller/{}", rank), .node = rank, .own_thread = true}));
  }
  Herd herd(program, transport.addresses().front(), token);
  std::jthread killer([&](const std::stop_token& over) {
    while (true) {
      std::this_thread::sleep_for(std::chrono::seconds(1));
      if (over.stop_requested()) {
        return;
      }
      herd.kill_one();
    }
  });
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
  std::uint64_t unavailable = 0;
  std::uint64_t marked_from = 0;
  std::uint64_t problems = 0;
  const auto complain = [&](const std::string& what) {
    if (++problems <= 10) {
      log().error("{}", what);
    }
  };
  const std::uint64_t per_round = std::max<std::uint64_t>(calls / 20 / ranks, 1000);
  std::vector<double> first_memory;
  const auto start = Clock::now();
  for (int round = 0; sent < calls || herd.kills() < kFewestKills; ++round) {
    // Most calls go between ranks, some to workers; at most once in even rounds, at least once in odd.
    const int retries = round % 2 == 0 ? 0 : 1000;
    const auto on_workers =
        worker_targets(system, ledger, retries, fmt::format("elastic/{}", round));
    std::vector<Future<Tally>> among_ranks;
    std::vector<Future<Tally>> to_workers;
    for (int rank = 0; rank < ranks; ++rank) {
      among_ranks.push_back(
          callers[static_cast<std::size_t>(rank)].call<&Caller::call_ranks>(targets, per_round));
      sent += per_round;
    }
    const std::uint64_t worker_calls = per_round / 10;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
    for (std::size_t index = 0; index < on_workers.size(); ++index) {
      to_workers.push_back(callers[index % callers.size()].call<&Caller::call_worker>(
          on_workers[index], marked_from, worker_calls));
      ranges.emplace_back(marked_from, marked_from + worker_calls);
      marked_from += worker_calls;
      sent += worker_calls;
    }
    for (const auto& future : among_ranks) {
      const Tally tally = future.get();
      answered += tally.answered;
      if (tally.answered != per_round || tally.wrong > 0) {
        complain(fmt::format("between ranks {} of {} calls were answered, {} wrongly",
                             tally.answered, per_round, tally.wrong));
      }
    }
    for (const auto& future : to_workers) {
      const Tally tally = future.get();
      answered += tally.answered;
      unavailable += tally.unavailable;
      if (tally.answered + tally.unavailable != worker_calls || tally.wrong > 0 ||
          (retries > 0 && tally.unavailable > 0)) {
        complain(fmt::format("to a worker {} calls: {} answered, {} unavailable, {} wrong",
                             worker_calls, tally.answered, tally.unavailable, tally.wrong));
      }
      for (const std::uint64_t number : tally.answered_by_worker) {
        if (ledger.call<&Ledger::runs>(number).get() == 0) {
          complain(fmt::format("call {} was answered and never ran", number));
        }
      }
    }
    if (retries == 0) {
      for (const auto& [begin, end] : ranges) {
        for (std::uint64_t number = begin; number < end; ++number) {
          if (const int runs = ledger.call<&Ledger::runs>(number).get(); runs > 1) {
            complain(fmt::format("call {} ran {} times, at most once was promised", number, runs));
          }
        }
      }
    }
    for (const auto& target : on_workers) {
      system.kill(target);
    }
    if (round == 3) {
      first_memory = memory_of(targets);
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  killer.request_stop();
  killer.join();
  std::uint64_t served = 0;
  for (const auto& target : targets) {
    served += target.call<&Target::served>().get();
  }
  if (served + marked_from != sent) {
    complain(fmt::format("{} calls between ranks were sent, {} ran", sent - marked_from, served));
  }
  if (marked_from == 0) {
    complain("no worker was ever called");
  }
  const std::vector<double> memory = memory_of(targets);
  for (std::size_t rank = 0; rank < memory.size(); ++rank) {
    if (kMemoryIsOurs && memory[rank] > first_memory.at(rank) + kMostGrowthMegabytes) {
      complain(fmt::format("rank {} has grown from {:.1f} MB to {:.1f} MB", rank, first_memory[rank],
                           memory[rank]));
    }
  }
  fmt::print("{} calls in {:.0f} s ({:.0f} a second), {} of them to workers, {} unavailable after "
             "{} kills; resident memory of rank 0 {:.1f} MB after a fifth, {:.1f} MB at the end; {} "
             "promises broken\n",
             sent, seconds, static_cast<double>(sent) / seconds, marked_from, unavailable,
             herd.kills(), first_memory.front(), memory.front(), problems);
  std::filesystem::remove_all(folder);
  return problems == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  register_types();
  if (argc == 4 && std::string(argv[1]) == "worker") {
    return run_worker(argv[2], argv[3]);
  }
  const std::uint64_t calls = argc == 2 ? std::stoull(argv[1]) : 100'000;
  MpiEnvironment mpi(&argc, &argv);
  init_logging(mpi.rank());
  const auto ranks = make_mpi_transport(mpi);
  ElasticTransport transport(*ranks);
  ActorSystem system(transport);
  if (system.node() != 0) {
    (void)system.run_until_shutdown();
    return 0;
  }
  int code = 1;
  try {
    code = drive(system, transport, std::filesystem::canonical("/proc/self/exe").string(), calls);
    system.shutdown();
  } catch (const std::exception& error) {
    log().error("{}", error.what());
    MpiEnvironment::abort_job(1);
  }
  return code;
}
