// An actor system of several nodes in one thread, for tests: nothing happens but by step(), which
// picks one of the things that could happen next (a message arrives, an actor runs, a timer is due)
// by a seed. The same seed gives the same run; a search over seeds finds races, and the seed that
// found one repeats it.
//
//   DeterministicCluster cluster(3, seed);
//   auto counter = cluster.node(0).spawn<Counter>({.node = 2});
//   EXPECT_EQ(counter.call<&Counter::add>(1).get(), 1);    // runs the cluster until it is there
//
// Time stands still while something else can happen, and then jumps to the next timer. A wait for
// what can never come throws InternalError("deadlock ...").
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/actor/actor_system.h"

namespace desta::runtime {

class DeterministicCluster {
 public:
  // `options`: of each node, or none.
  DeterministicCluster(int nodes, std::uint64_t seed, std::vector<ActorSystemOptions> options = {});
  // Ends all nodes.
  ~DeterministicCluster();
  DeterministicCluster(const DeterministicCluster&) = delete;
  DeterministicCluster& operator=(const DeterministicCluster&) = delete;

  [[nodiscard]] ActorSystem& node(int index);

  // Lets one thing happen; false when nothing can but timers, unless `timers`.
  bool step(bool timers = false);
  // Until nothing can happen but timers. Throws InternalError after `limit` steps.
  void run_until_idle(std::uint64_t limit = 1'000'000);
  // Lets the time pass, with all that is due in it.
  void run_for(std::chrono::nanoseconds duration);

  // Kills a node, as if its process were gone: what it has sent and nobody has received yet may
  // still arrive or not, by the seed; the others learn of it at some later step.
  void kill(int index);

  // What happened, one line a step: for whoever looks at a seed that fails.
  [[nodiscard]] const std::vector<std::string>& history() const;

 private:
  class World;
  std::unique_ptr<World> world_;
};

}  // namespace desta::runtime
