// A message under way as a Work.
#pragma once

#include <memory>

#include "runtime/collectives/communicator.h"
#include "runtime/collectives/failure_watch.h"
#include "runtime/collectives/operation.h"
#include "runtime/collectives/peer_links.h"

namespace desta::runtime {

// `watch` must outlive it.
[[nodiscard]] std::unique_ptr<Work> make_message_work(
    Operation operation, FailureWatch& watch, std::unique_ptr<PeerLinks::Transfer> transfer);

}  // namespace desta::runtime
