// A communicator of one: collectives change nothing, a send to oneself waits in a queue.
#pragma once

#include <memory>

#include "runtime/collectives/communicator.h"

namespace desta::runtime {

[[nodiscard]] std::unique_ptr<Communicator> make_local_communicator();

}  // namespace desta::runtime
