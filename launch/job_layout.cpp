#include "launch/job_layout.h"

#include <fmt/chrono.h>
#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>

#include "runtime/core/log.h"
#include "runtime/core/wire.h"

namespace desta::launch {
namespace {

std::vector<Seat> gather(const runtime::MpiEnvironment& mpi, const Seat& mine) {
  std::vector<Seat> seats;
  for (const auto& bytes : mpi.all_gather(runtime::pack(mine))) {
    seats.push_back(runtime::unpack<Seat>(bytes));
  }
  return seats;
}

// Those of one node, in the order of ranks.
std::vector<Seat> seats_of(const std::string& node, const std::vector<Seat>& seats) {
  std::vector<Seat> found;
  std::copy_if(seats.begin(), seats.end(), std::back_inserter(found),
               [&](const Seat& seat) { return seat.node == node; });
  return found;
}

// "0-3,8"
std::string ranges(const std::vector<int>& numbers) {
  std::string text;
  for (std::size_t first = 0; first < numbers.size();) {
    std::size_t last = first;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) {
      ++last;
    }
    text += fmt::format("{}{}", text.empty() ? "" : ",", numbers[first]);
    if (last > first) {
      text += fmt::format("-{}", numbers[last]);
    }
    first = last + 1;
  }
  return text;
}

// "0 | 1", or "0-1" when all have the same.
std::string each(const std::vector<std::string>& parts) {
  const bool same = std::all_of(parts.begin(), parts.end(),
                                [&](const auto& part) { return part == parts.front(); });
  return same ? parts.front() : fmt::format("{}", fmt::join(parts, " | "));
}

std::string describe_node(const std::vector<Seat>& seats) {
  std::vector<int> numbers;
  std::vector<std::string> cores;
  std::vector<std::string> gpus;
  bool any_gpu = false;
  for (const Seat& seat : seats) {
    numbers.push_back(seat.rank);
    cores.push_back(ranges(seat.cores));
    gpus.push_back(seat.gpus.empty() ? "none" : seat.gpus);
    any_gpu = any_gpu || !seat.gpus.empty();
  }
  const std::string shown = each(cores);
  const bool shared = seats.size() > 1 && shown == cores.front();
  return fmt::format("node {}: {} {}; cores {}{}{}", seats.front().node,
                     seats.size() > 1 ? "ranks" : "rank", ranges(numbers), shown,
                     seats.front().pinned ? " (pinned)"
                     : shared             ? " (shared)"
                                          : "",
                     any_gpu ? "; GPUs " + each(gpus) : "");
}

}  // namespace

std::vector<int> allowed_cores() {
  // Machines may have more cores than cpu_set_t has room for.
  std::vector<int> cores;
  for (int room = CPU_SETSIZE; room <= 64 * CPU_SETSIZE; room *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(room));
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(room));
    CPU_ZERO_S(bytes, set);
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    for (int core = 0; known && core < room; ++core) {
      if (CPU_ISSET_S(static_cast<std::size_t>(core), bytes, set)) {
        cores.push_back(core);
      }
    }
    CPU_FREE(set);
    if (known) {
      break;
    }
  }
  return cores;
}

std::vector<int> cores_to_pin(const Seat& mine, const std::vector<Seat>& seats, int threads) {
  const auto node = seats_of(mine.node, seats);
  const bool all_alike = std::all_of(node.begin(), node.end(),
                                     [&](const Seat& seat) { return seat.cores == mine.cores; });
  const auto share = static_cast<std::size_t>(threads);
  const auto place = static_cast<std::size_t>(mine.local_rank);
  if (!all_alike || node.size() * share != mine.cores.size() || place >= node.size()) {
    return {};
  }
  const auto first = mine.cores.begin() + static_cast<std::ptrdiff_t>(place * share);
  return {first, first + static_cast<std::ptrdiff_t>(share)};
}

std::vector<Seat> take_seats(const runtime::MpiEnvironment& mpi, const JobEnvironment& environment,
                             const RuntimeOptions& options) {
  Seat mine{.node = environment.node_name,
            .rank = mpi.rank(),
            .local_rank = mpi.local_rank(),
            .cores = allowed_cores(),
            .gpus = environment.gpus};
  auto seats = gather(mpi, mine);
  if (options.bind == "none" || mpi.size() == 1) {
    return seats;
  }
  const auto cores = cores_to_pin(mine, seats, static_cast<int>(options.threads));
  if (!cores.empty()) {
    const std::size_t room = static_cast<std::size_t>(cores.back()) + 1;
    cpu_set_t* set = CPU_ALLOC(room);
    const std::size_t bytes = CPU_ALLOC_SIZE(room);
    CPU_ZERO_S(bytes, set);
    for (const int core : cores) {
      CPU_SET_S(static_cast<std::size_t>(core), bytes, set);
    }
    // A refusal leaves the rank as it was, and the table says so.
    mine.pinned = ::sched_setaffinity(0, bytes, set) == 0;
    CPU_FREE(set);
    mine.cores = allowed_cores();
  }
  return gather(mpi, mine);
}

std::vector<std::string> describe_layout(const JobEnvironment& environment,
                                         const std::vector<Seat>& seats) {
  std::vector<std::string> nodes;  // in the order of their first rank
  for (const Seat& seat : seats) {
    if (std::find(nodes.begin(), nodes.end(), seat.node) == nodes.end()) {
      nodes.push_back(seat.node);
    }
  }
  std::string head = environment.describe();
  if (seats.size() > 1) {
    head += fmt::format("; {} ranks on {} node{}", seats.size(), nodes.size(),
                        nodes.size() > 1 ? "s" : "");
  }
  if (environment.end_time) {
    head +=
        fmt::format("; until {:%Y-%m-%d %H:%M:%S}",
                    fmt::localtime(std::chrono::system_clock::to_time_t(*environment.end_time)));
  }
  if (seats.size() == 1) {
    return {head + "; " + describe_node(seats)};
  }
  std::vector<std::string> lines = {head};
  for (const auto& node : nodes) {
    lines.push_back("  " + describe_node(seats_of(node, seats)));
  }
  return lines;
}

}  // namespace desta::launch
