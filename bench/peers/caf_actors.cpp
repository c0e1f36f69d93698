// Actor calls in CAF (the C++ Actor Framework, 0.17, as Debian has it), the same that bench/actors
// makes in ours.
//
//   caf_actors [what starts with ...]
//
// Chosen for CAF: event-based actors, which have no thread of their own; dynamically typed
// handlers, as in its manual (typed ones take the same way at run time); 2 scheduler threads; both
// of its schedulers, one after the other, since neither is best at everything: "stealing" (the
// default), whose idle threads sleep between looks at their queues, is better at many calls,
// "sharing", whose idle threads wait at one queue, several times faster at one call at a time.
// Compare with the better figure of the two. No deserialisation workers in the middleman: its own
// thread reads a message and hands it over, which is faster for one call at a time (28 us against
// 47 us by a worker). All actors of a figure have ended before the next begins.
//
//   local_closed_loop_from_program    a thread (scoped_actor) asks an actor for n + 1 and waits,
//                                     then the next. 100,000 after 10,000.
//   local_closed_loop_from_actor      the same by an actor whose handler of an answer makes the
//                                     next call. 1,000,000 after 10,000.
//   local_pipelined_one_to_one        an actor sends 10,000 calls to one, waits for all answers,
//                                     then the next 10,000. 50 rounds after 1 (requests: 10).
//   local_pipelined_1000_actors       an actor sends 100 calls to each of 1,000 actors, one by one
//                                     in turn, and waits for all. 10 rounds after 1 (requests: 1).
//     Both pipelined figures twice: by requests, each with its own handler of the answer, as a
//     future is; and by messages, whose answers are messages that one handler counts. CAF 0.17
//     looks for a request's handler by going through all that are outstanding, so many of them are
//     slow.
//   remote_call_64B                   a struct of 64 bytes there and back between two processes
//                                     over 127.0.0.1, closed loop, each call timed; from a blocking
//                                     thread and from an actor. 20,000 after 2,000.
//   memory_per_idle_actor             growth of the resident set over 100,000 actors that have been
//                                     started, hold a behaviour and one number, and were never
//                                     called.
//   10000_actors_spawned_called_ended the time from the first spawn until each has been called
//                                     once, has answered and has ended; the best of 5.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "bench/figure.h"

namespace {

using desta::bench::Clock;
using desta::bench::seconds_since;

struct Payload {
  std::array<std::uint64_t, 8> words{};
};
static_assert(sizeof(Payload) == 64);

template <class Inspector>
typename Inspector::result_type inspect(Inspector& inspector, Payload& payload) {
  return inspector(caf::meta::type_name("Payload"), payload.words);
}

struct Config : caf::actor_system_config {
  explicit Config(const std::string& scheduler) {
    add_message_type<Payload>("Payload");
    load<caf::io::middleman>();
    set("scheduler.max-threads", std::size_t{2});
    set("scheduler.policy", caf::atom_from_string(scheduler));
    set("middleman.workers", std::size_t{0});
    set("logger.verbosity", caf::atom("quiet"));
  }
};

std::string scheduler_in_use;

void print_figure(const std::string& what, double value, std::string_view unit) {
  desta::bench::print_figure("CAF 0.17, " + scheduler_in_use, what, value, unit);
}

void print_latency(const std::string& what, const std::vector<double>& seconds) {
  desta::bench::print_latency("CAF 0.17, " + scheduler_in_use, what, seconds);
}

struct Counted {
  std::int64_t calls = 0;
};

std::atomic<std::size_t> started = 0;

caf::behavior adder(caf::stateful_actor<Counted>* self) {
  ++started;
  return {[self](std::int64_t number) {
    ++self->state.calls;
    return number + 1;
  }};
}

caf::behavior echo(caf::event_based_actor*) {
  return {[](const Payload& payload) { return payload; }};
}

[[noreturn]] void fail(const std::string& why) {
  std::fputs(("error: " + why + "\n").c_str(), stderr);
  std::_Exit(1);
}

// Ends actors and waits until none runs.
void end(caf::actor_system& system, const std::vector<caf::actor>& actors) {
  for (const caf::actor& actor : actors) {
    caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
  }
  system.registry().await_running_count_equal(0);
}

// Makes one call after the other; each answer's handler makes the next. Remote ones are timed each.
template <typename Value>
class ClosedLoop : public caf::event_based_actor {
 public:
  ClosedLoop(caf::actor_config& config, caf::actor target, int warm_up, int calls,
             std::function<void(double, std::vector<double>)> done)
      : caf::event_based_actor(config),
        target_(std::move(target)),
        warm_up_(warm_up),
        calls_(calls),
        done_(std::move(done)) {}

  caf::behavior make_behavior() override {
    times_.reserve(static_cast<std::size_t>(calls_));
    call();
    return {[](caf::unit_t) {}};
  }

 private:
  // Two looks at the clock are much for a local call.
  static constexpr bool kTimed = std::is_same_v<Value, Payload>;

  void call() {
    if (made_ == warm_up_) {
      start_ = Clock::now();
    }
    const auto asked = kTimed ? Clock::now() : Clock::time_point();
    request(target_, caf::infinite, Value{}).then([this, asked](const Value&) {
      if (++made_ > warm_up_ && kTimed) {
        times_.push_back(seconds_since(asked));
      }
      if (made_ < warm_up_ + calls_) {
        return call();
      }
      done_(seconds_since(start_), std::move(times_));
      quit();
    });
  }

  const caf::actor target_;
  const int warm_up_;
  const int calls_;
  const std::function<void(double, std::vector<double>)> done_;
  int made_ = 0;
  Clock::time_point start_;
  std::vector<double> times_;
};

enum class Answer { kRequest, kMessage };

// Sends `calls` calls over `targets`, waits for all the answers, and again.
class Bursts : public caf::event_based_actor {
 public:
  Bursts(caf::actor_config& config, Answer answer, std::vector<caf::actor> targets, int calls,
         int rounds, std::function<void(double)> done)
      : caf::event_based_actor(config),
        answer_(answer),
        targets_(std::move(targets)),
        calls_(calls),
        rounds_(rounds),
        done_(std::move(done)) {}

  caf::behavior make_behavior() override {
    burst();
    return {[this](std::int64_t) { on_answer(); }};
  }

 private:
  void burst() {
    if (round_ == 1) {  // the first is warm-up
      start_ = Clock::now();
    }
    answered_ = 0;
    for (int i = 0; i < calls_; ++i) {
      const caf::actor& target = targets_[static_cast<std::size_t>(i) % targets_.size()];
      if (answer_ == Answer::kMessage) {
        send(target, std::int64_t{i});
      } else {
        request(target, caf::infinite, std::int64_t{i}).then([this](std::int64_t) { on_answer(); });
      }
    }
  }
  void on_answer() {
    if (++answered_ < calls_) {
      return;
    }
    if (round_++ < rounds_) {
      return burst();
    }
    done_(seconds_since(start_));
    quit();
  }

  const Answer answer_;
  const std::vector<caf::actor> targets_;
  const int calls_;
  const int rounds_;
  const std::function<void(double)> done_;
  int round_ = 0;
  int answered_ = 0;
  Clock::time_point start_;
};

template <typename Value>
std::vector<double> blocking_calls(caf::actor_system& system, const caf::actor& target, int warm_up,
                                   int calls) {
  caf::scoped_actor self(system);
  std::vector<double> times;
  for (int i = -warm_up; i < calls; ++i) {
    const auto asked = Clock::now();
    self->request(target, caf::infinite, Value{})
        .receive([](const Value&) {},
                 [&](const caf::error& error) { fail("a call: " + system.render(error)); });
    if (i >= 0) {
      times.push_back(seconds_since(asked));
    }
  }
  return times;
}

void local_blocking(caf::actor_system& system) {
  const caf::actor target = system.spawn(adder);
  const std::vector<double> times = blocking_calls<std::int64_t>(system, target, 10'000, 100'000);
  print_figure("local_closed_loop_from_program",
               static_cast<double>(times.size()) / std::reduce(times.begin(), times.end()),
               "calls/s");
  end(system, {target});
}

void local_actor(caf::actor_system& system) {
  constexpr int kCalls = 1'000'000;
  const caf::actor target = system.spawn(adder);
  std::promise<double> done;
  system.spawn<ClosedLoop<std::int64_t>>(
      target, 10'000, kCalls,
      [&](double seconds, const std::vector<double>&) { done.set_value(seconds); });
  print_figure("local_closed_loop_from_actor", kCalls / done.get_future().get(), "calls/s");
  end(system, {target});
}

void bursts(caf::actor_system& system, const std::string& what, Answer answer, std::size_t actors,
            int calls, int rounds) {
  std::vector<caf::actor> targets;
  for (std::size_t i = 0; i < actors; ++i) {
    targets.push_back(system.spawn(adder));
  }
  std::promise<double> done;
  system.spawn<Bursts>(answer, targets, calls, rounds,
                       [&](double seconds) { done.set_value(seconds); });
  print_figure(what + (answer == Answer::kRequest ? "_by_requests" : "_by_messages"),
               static_cast<double>(calls) * rounds / done.get_future().get(), "calls/s");
  end(system, targets);
}

// The other process: publishes an echo actor, prints its port, and ends with it.
int serve(const std::string& scheduler) {
  Config config(scheduler);
  caf::actor_system system(config);
  const auto port = system.middleman().publish(system.spawn(echo), 0, "127.0.0.1");
  if (!port) {
    fail("publish: " + system.render(port.error()));
  }
  std::printf("%u\n", static_cast<unsigned>(*port));
  std::fflush(stdout);
  return 0;  // the system waits for its actors
}

void remote(caf::actor_system& system) {
  const std::string command =
      std::filesystem::read_symlink("/proc/self/exe").string() + " --serve " + scheduler_in_use;
  FILE* other = ::popen(command.c_str(), "r");
  unsigned port = 0;
  if (other == nullptr || std::fscanf(other, "%u", &port) != 1) {
    fail("cannot start " + command);
  }
  const auto target =
      system.middleman().remote_actor("127.0.0.1", static_cast<std::uint16_t>(port));
  if (!target) {
    fail("remote_actor: " + system.render(target.error()));
  }
  print_latency("remote_call_64B", blocking_calls<Payload>(system, *target, 2'000, 20'000));
  std::promise<std::vector<double>> done;
  system.spawn<ClosedLoop<Payload>>(*target, 2'000, 20'000, [&](double, std::vector<double> times) {
    done.set_value(std::move(times));
  });
  print_latency("remote_call_64B_from_actor", done.get_future().get());
  caf::anon_send_exit(*target, caf::exit_reason::user_shutdown);
  ::pclose(other);
}

double resident_bytes() {
  std::ifstream in("/proc/self/statm");
  double total = 0;
  double resident = 0;
  in >> total >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

void memory(caf::actor_system& system) {
  // Measured once: what has been freed before would hide growth, and no actor knows its scheduler.
  static bool measured = false;
  if (std::exchange(measured, true)) {
    return;
  }
  constexpr std::size_t kActors = 100'000;
  std::vector<caf::actor> actors;
  actors.reserve(kActors);
  started = 0;
  const double before = resident_bytes();
  for (std::size_t i = 0; i < kActors; ++i) {
    actors.push_back(system.spawn(adder));
  }
  while (started < kActors) {
    std::this_thread::yield();
  }
  print_figure("memory_per_idle_actor", (resident_bytes() - before) / kActors, "bytes");
  end(system, actors);
}

void life(caf::actor_system& system) {
  constexpr std::size_t kActors = 10'000;
  std::vector<double> times;
  for (int round = 0; round < 5; ++round) {
    std::vector<caf::actor> actors;
    actors.reserve(kActors);
    const auto start = Clock::now();
    {
      caf::scoped_actor self(system);
      for (std::size_t i = 0; i < kActors; ++i) {
        actors.push_back(system.spawn(adder));
        self->send(actors.back(), std::int64_t{1});
      }
      for (std::size_t i = 0; i < kActors; ++i) {
        self->receive([](std::int64_t) {});
      }
    }
    end(system, actors);
    times.push_back(seconds_since(start));
  }
  print_figure("10000_actors_spawned_called_ended", *std::ranges::min_element(times), "s");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (first == "--serve" && argc == 3) {
    return serve(argv[2]);
  }
  const std::vector<std::pair<std::string, std::function<void(caf::actor_system&)>>> figures{
      {"memory_per_idle_actor", memory},
      {"local_closed_loop_from_program", local_blocking},
      {"local_closed_loop_from_actor", local_actor},
      {"local_pipelined_one_to_one",
       [](caf::actor_system& system) {
         const std::string what = "local_pipelined_one_to_one";
         bursts(system, what, Answer::kMessage, 1, 10'000, 50);
         bursts(system, what, Answer::kRequest, 1, 10'000, 10);
       }},
      {"local_pipelined_1000_actors",
       [](caf::actor_system& system) {
         const std::string what = "local_pipelined_1000_actors";
         bursts(system, what, Answer::kMessage, 1'000, 100'000, 10);
         bursts(system, what, Answer::kRequest, 1'000, 100'000, 1);
       }},
      {"10000_actors_spawned_called_ended", life},
      {"remote_call_64B", remote}};
  for (const char* scheduler : {"stealing", "sharing"}) {
    scheduler_in_use = scheduler;
    Config config(scheduler);
    caf::actor_system system(config);
    for (const auto& [name, measure] : figures) {
      if (name.starts_with(first)) {
        measure(system);
      }
    }
  }
  return 0;
}
