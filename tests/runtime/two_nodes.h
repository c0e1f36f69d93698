// Two nodes of an actor system in one process.
#pragma once

#include <gtest/gtest.h>

#include <thread>

#include "actors_under_test.h"
#include "runtime/transport/in_process_transport.h"

namespace desta::runtime::testing {

class TwoNodes : public ::testing::Test {
 protected:
  TwoNodes() { Probe::released_ = false; }
  ~TwoNodes() override {
    Probe::released_ = true;
    system.shutdown();
    runner_.join();
  }

  // A Probe on the other node, so that calls cross the transport.
  ActorRef<Probe> spawn(const std::string& name, SpawnOptions options = {}) {
    options.name = name;
    options.node = 1;
    return system.spawn<Probe>(options, ProbeOptions{});
  }

 private:
  struct Registered {
    Registered() { register_probe(); }
  } registered_;
  InProcessNetwork network_{2};

 protected:
  ActorSystem system{network_.node(0)};
  ActorSystem other{network_.node(1)};

 private:
  std::thread runner_{[this] { other.run_until_shutdown(); }};
};

}  // namespace desta::runtime::testing
