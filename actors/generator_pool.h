// The generator actors of a job: one on each of some ranks, and one on each worker that joins.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

#include "actors/generator_actor.h"
#include "runtime/actor/actor_ref.h"
#include "runtime/actor/actor_system.h"

namespace desta::actors {

class GeneratorPool {
 public:
  // On the ranks from `first_node` on; waits until they are loaded. Those on joined workers follow.
  GeneratorPool(runtime::ActorSystem& system, int first_node);
  ~GeneratorPool();
  GeneratorPool(const GeneratorPool&) = delete;
  GeneratorPool& operator=(const GeneratorPool&) = delete;

  // How many there are by now.
  [[nodiscard]] std::size_t count();
  [[nodiscard]] const runtime::ActorRef<GeneratorActor>& operator[](std::size_t index) const {
    return generators_[index];
  }

 private:
  // On a worker's loss its work goes to others: it is not restarted elsewhere.
  void add(int node, int max_restarts);

  runtime::ActorSystem& system_;
  std::vector<runtime::ActorRef<GeneratorActor>> generators_;
  std::mutex mutex_;
  std::vector<int> newcomers_;
};

}  // namespace desta::actors
