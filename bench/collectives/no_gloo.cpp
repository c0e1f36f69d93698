// Stands in for gloo.cpp where the build found no gloo.
#include "bench/collectives/peers.h"

namespace desta::bench {

std::vector<Contender> gloo(const std::string& /*memory*/, float* /*data*/,
                            const std::string& /*folder*/) {
  return {};
}

}  // namespace desta::bench
