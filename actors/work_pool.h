// One queue of work, pulled by several actors: whoever is free gets the next piece.
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <vector>

#include "runtime/actor/future.h"

namespace desta::actors {

// Gives pieces 0..count-1 to `workers` workers, one at a time each, and hands every result to
// `collect(piece, result)` as it comes. `start(worker, piece)` begins a piece and returns its
// future. A piece that fails is given out once more (an actor with restarts is a new one by then);
// when it fails again its error ends the whole. Once `enough` holds no further piece is
// given out; returns false then, when those under way are done.
template <typename Result>
bool pull_work(std::size_t workers, std::size_t count,
               const std::function<runtime::Future<Result>(std::size_t, std::size_t)>& start,
               const std::function<void(std::size_t, Result)>& collect,
               const std::function<bool()>& enough = [] { return false; }) {
  std::vector<runtime::Future<Result>> running;
  std::vector<std::pair<std::size_t, std::size_t>> jobs;  // worker, piece
  std::set<std::size_t> failed;
  std::size_t next = 0;
  const auto more = [&] { return next < count && !enough(); };
  while (running.size() < workers && more()) {
    jobs.emplace_back(running.size(), next);
    running.push_back(start(running.size(), next));
    ++next;
  }
  while (!running.empty()) {
    const std::size_t ready = runtime::wait_any(running);
    const auto [worker, piece] = jobs[ready];
    if (running[ready].error().has_value() && failed.insert(piece).second) {
      running[ready] = start(worker, piece);
      continue;
    }
    collect(piece, running[ready].get());
    if (more()) {
      running[ready] = start(worker, next);
      jobs[ready].second = next++;
    } else {
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(ready));
      jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(ready));
    }
  }
  return next == count;
}

}  // namespace desta::actors
