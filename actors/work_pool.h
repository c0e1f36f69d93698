// One queue of work, pulled by several actors: whoever is free gets the next piece.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <set>
#include <vector>

#include "runtime/actor/errors.h"
#include "runtime/actor/future.h"
#include "runtime/core/log.h"

namespace desta::actors {

// Says that a worker is gone; throws its error when no other is left.
inline void retire(const runtime::Error& error, std::size_t others) {
  if (others == 0) {
    throw;
  }
  runtime::log().warn("a worker is gone, its work goes to another: {}", error.what());
}

// Gives pieces 0..count-1 to workers, one at a time each, and hands every result to
// `collect(piece, result)` as it comes. `start(worker, piece)` begins a piece and returns its future.
// `workers()` is how many there are by now: they may become more, and are numbered from 0. A worker
// that has died, or whose node was lost, gets nothing more, and its piece goes to another. A piece
// that fails otherwise is given out once more (an actor with restarts is a new one by then); when it
// fails again, or no worker is left, its error ends the whole. Once `enough` holds no further piece
// is given out; returns false then, when those under way are done.
template <typename Result>
bool pull_work(const std::function<std::size_t()>& workers, std::size_t count,
               const std::function<runtime::Future<Result>(std::size_t, std::size_t)>& start,
               const std::function<void(std::size_t, Result)>& collect,
               const std::function<bool()>& enough = [] { return false; }) {
  struct Job {
    std::size_t worker;
    std::size_t piece;
  };
  constexpr std::chrono::milliseconds kLookForWorkers{500};
  std::vector<runtime::Future<Result>> running;
  std::vector<Job> jobs;  // of `running`
  std::deque<std::size_t> again;  // pieces of workers that are gone
  std::deque<std::size_t> idle;
  std::set<std::size_t> failed;
  std::size_t known = 0;  // workers
  std::size_t next = 0;
  const auto more = [&] { return (!again.empty() || next < count) && !enough(); };
  const auto give = [&](std::size_t worker) {
    std::size_t piece = 0;
    if (again.empty()) {
      piece = next++;
    } else {
      piece = again.front();
      again.pop_front();
    }
    jobs.push_back({worker, piece});
    running.push_back(start(worker, piece));
  };
  while (true) {
    for (const std::size_t total = workers(); known < total; ++known) {
      idle.push_back(known);
    }
    while (!idle.empty() && more()) {
      const std::size_t worker = idle.front();
      idle.pop_front();
      give(worker);
    }
    if (running.empty()) {
      return again.empty() && next == count;
    }
    if (!runtime::wait(running, runtime::WaitFor::kAny, kLookForWorkers)) {
      continue;
    }
    const std::size_t ready = runtime::wait_any(running);
    const auto [worker, piece] = jobs[ready];
    const runtime::Future<Result> future = running[ready];
    running.erase(running.begin() + static_cast<std::ptrdiff_t>(ready));
    jobs.erase(jobs.begin() + static_cast<std::ptrdiff_t>(ready));
    try {
      collect(piece, future.get());
      idle.push_back(worker);
    } catch (const runtime::ActorDied& error) {
      retire(error, running.size() + idle.size());
      again.push_back(piece);
    } catch (const runtime::ActorUnavailable& error) {
      retire(error, running.size() + idle.size());
      again.push_back(piece);
    } catch (const runtime::Error&) {
      if (!future.error().has_value() || !failed.insert(piece).second) {
        throw;
      }
      again.push_back(piece);
      idle.push_back(worker);
    }
  }
}

}  // namespace desta::actors
