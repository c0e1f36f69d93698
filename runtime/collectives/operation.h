// What a rank is doing, kept as numbers and put into words only when an error needs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "runtime/core/dtype.h"

namespace desta::runtime {

struct Operation {
  enum class Kind : std::uint8_t {
    kAllReduce,
    kReduceScatter,
    kAllGather,
    kBroadcast,
    kBarrier,
    kAllocate,
    kSplit,
    kSend,
    kReceive,
  };
  Kind kind = Kind::kBarrier;
  std::size_t count = 0;  // elements, of a message bytes
  DType dtype = DType::kUInt8;
  int peer = -1;  // root, source or destination
  int tag = 0;

  // "all-reduce of 1024 float32", "receive of 4 bytes from rank 1 (tag 4)".
  [[nodiscard]] std::string text() const;
};

}  // namespace desta::runtime
