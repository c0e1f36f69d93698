#include "runtime/collectives/operation.h"

#include <fmt/format.h>

namespace desta::runtime {

std::string Operation::text() const {
  switch (kind) {
    case Kind::kAllReduce:
      return fmt::format("all-reduce of {} {}", count, name_of(dtype));
    case Kind::kReduceScatter:
      return fmt::format("reduce-scatter of {} {} a rank", count, name_of(dtype));
    case Kind::kAllGather:
      return fmt::format("all-gather of {} {} a rank", count, name_of(dtype));
    case Kind::kBroadcast:
      return fmt::format("broadcast of {} {} from rank {}", count, name_of(dtype), peer);
    case Kind::kBarrier:
      return "barrier";
    case Kind::kAllocate:
      return fmt::format("allocation of {} bytes", count);
    case Kind::kSplit:
      return "making of a communicator";
    case Kind::kSend:
      return fmt::format("send of {} bytes to rank {} (tag {})", count, peer, tag);
    case Kind::kReceive:
      return fmt::format("receive of {} bytes from rank {} (tag {})", count, peer, tag);
  }
  return "operation";
}

}  // namespace desta::runtime
