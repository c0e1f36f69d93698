// Several nodes in one process, for tests and for jobs of one process: each node has a queue and a
// thread that empties it, so a message is as asynchronous as one that crosses a wire.
#pragma once

#include <memory>
#include <vector>

#include "runtime/transport/transport.h"

namespace desta::runtime {

class InProcessNetwork {
 public:
  explicit InProcessNetwork(int nodes);
  ~InProcessNetwork();
  InProcessNetwork(const InProcessNetwork&) = delete;
  InProcessNetwork& operator=(const InProcessNetwork&) = delete;

  // Owned by the network, which must outlive its users.
  [[nodiscard]] Transport& node(int index);

 private:
  class Node;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace desta::runtime
