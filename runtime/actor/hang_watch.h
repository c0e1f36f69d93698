// Looks at a running system now and then, and says in the log who is to blame when calls wait for too
// long (ActorSystemOptions::hang_after): the one that all others wait for, with the calls that wait,
// once for each culprit.
#pragma once

#include <memory>

#include "runtime/actor/actor_system.h"

namespace desta::runtime {

class HangWatch {
 public:
  // On node 0. Must end before the system.
  explicit HangWatch(ActorSystem& system);
  ~HangWatch();
  HangWatch(const HangWatch&) = delete;
  HangWatch& operator=(const HangWatch&) = delete;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace desta::runtime
