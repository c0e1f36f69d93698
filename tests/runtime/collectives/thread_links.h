// Links among threads of one process, so that a test has as many ranks as it likes.
#pragma once

#include <memory>
#include <vector>

#include "runtime/collectives/peer_links.h"

namespace desta::runtime::testing {

// One for each rank.
[[nodiscard]] std::vector<std::unique_ptr<PeerLinks>> make_thread_links(int ranks);

}  // namespace desta::runtime::testing
