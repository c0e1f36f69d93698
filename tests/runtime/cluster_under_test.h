// Nodes of an actor system in one process, which a test may lose, and what tests wait with.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "actors_under_test.h"
#include "runtime/transport/in_process_transport.h"

namespace desta::runtime::testing {

// True as soon as `condition` is; false when it is not within a time that no healthy machine needs.
inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// Where methods wait until their test lets them go on.
class Gate {
 public:
  void reset() {
    open_ = false;
    inside_ = 0;
    passed_ = 0;
  }
  void open() { open_ = true; }
  // How many are in pass() now, and how many have been.
  [[nodiscard]] int inside() const { return inside_; }
  [[nodiscard]] int passed() const { return passed_; }
  // Waits until it is open; returns early, with true, when the call that runs here is cancelled.
  bool pass() {
    ++inside_;
    bool cancelled = false;
    while (!open_ && !(cancelled = call_is_cancelled())) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    --inside_;
    ++passed_;
    return cancelled;
  }
  // The same, deaf to cancellation.
  void pass_at_all_costs() {
    ++inside_;
    while (!open_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    --inside_;
    ++passed_;
  }

 private:
  std::atomic<bool> open_ = false;
  std::atomic<int> inside_ = 0;
  std::atomic<int> passed_ = 0;
};

class Cluster {
 public:
  explicit Cluster(std::vector<ActorSystemOptions> nodes)
      : network_(static_cast<int>(nodes.size())) {
    for (std::size_t node = 0; node < nodes.size(); ++node) {
      systems_.push_back(std::make_unique<ActorSystem>(network_.node(static_cast<int>(node)),
                                                       std::move(nodes[node])));
    }
    for (std::size_t node = 1; node < nodes.size(); ++node) {
      runners_.emplace_back([&system = *systems_[node]] {
        try {
          system.run_until_shutdown();
        } catch (const TransportError&) {
          // It was lost.
        }
      });
    }
  }
  ~Cluster() {
    try {
      systems_[0]->shutdown();
    } catch (const TransportError& error) {
      ADD_FAILURE() << error.what();
      for (const auto& system : systems_) {
        system->job_lost("the test is over");
      }
    }
    for (std::thread& runner : runners_) {
      runner.join();
    }
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  ActorSystem& operator[](int node) { return *systems_.at(static_cast<std::size_t>(node)); }

  // The node falls silent for good; nobody has noticed.
  void cut_off(int node) { network_.node(node).stop(); }
  // Node 0 learns that it is lost. Its actors see their calls fail and end.
  void lose(int node, const std::string& why = "no heartbeat") {
    cut_off(node);
    systems_[0]->node_lost(node, why);
    (*this)[node].job_lost("it was cut off");
  }

  // What describe() says of an actor; the default when it says nothing.
  ActorInfo info(const std::string& name) {
    for (const NodeInfo& node : systems_[0]->nodes()) {
      if (node.state == NodeState::kDead) {
        continue;
      }
      for (ActorInfo& info : systems_[static_cast<std::size_t>(node.node)]->core().describe()) {
        if (info.name == name) {
          return info;
        }
      }
    }
    return {};
  }
  bool becomes(const std::string& name, ActorState state) {
    return eventually([&] { return info(name).state == state; });
  }

 private:
  InProcessNetwork network_;
  std::vector<std::unique_ptr<ActorSystem>> systems_;
  std::vector<std::thread> runners_;
};

}  // namespace desta::runtime::testing
