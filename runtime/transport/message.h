// What one node says to another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/core/buffer.h"

namespace desta::runtime {

struct Message {
  std::int32_t from = 0;  // the node that wrote it, which need not be the last one to pass it on
  std::int32_t to = 0;
  std::string body;             // small: it is copied
  std::vector<Buffer> buffers;  // large: frames of their own, never copied by a transport

  [[nodiscard]] std::size_t bytes() const {
    std::size_t total = body.size();
    for (const Buffer& buffer : buffers) {
      total += buffer.size();
    }
    return total;
  }
};

}  // namespace desta::runtime
