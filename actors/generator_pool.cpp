#include "actors/generator_pool.h"

#include <fmt/format.h>

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace desta::actors {

GeneratorPool::GeneratorPool(runtime::ActorSystem& system, int first_node) : system_(system) {
  constexpr int kRestarts = 3;
  for (int node = first_node; node < system.node_count(); ++node) {
    add(node, kRestarts);
  }
  for (auto& generator : generators_) {
    generator.ready().get();
  }
  system.on_node_joined([this](int node) {
    const std::lock_guard lock(mutex_);
    newcomers_.push_back(node);
  });
}

GeneratorPool::~GeneratorPool() { system_.on_node_joined(nullptr); }

std::size_t GeneratorPool::count() {
  std::vector<int> newcomers;
  {
    const std::lock_guard lock(mutex_);
    newcomers.swap(newcomers_);
  }
  for (const int node : newcomers) {
    try {
      add(node, 0);
    } catch (const runtime::Error& error) {
      runtime::log().warn("no generator on node {}: {}", node, error.what());
    }
  }
  return generators_.size();
}

void GeneratorPool::add(int node, int max_restarts) {
  generators_.push_back(system_.spawn<GeneratorActor>({.name = fmt::format("generator/{}", node),
                                                       .node = node,
                                                       .max_restarts = max_restarts,
                                                       .own_thread = true}));
}

}  // namespace desta::actors
