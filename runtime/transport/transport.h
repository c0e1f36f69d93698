// The control plane: small messages between the nodes (processes) of a job. A message is delivered
// once, whole, and in order for each pair of nodes. Tensors do not travel here: see Communicator.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace desta::runtime {

class Transport {
 public:
  using Message = std::vector<std::byte>;
  using Handler = std::function<void(int from, Message message)>;

  virtual ~Transport() = default;

  [[nodiscard]] virtual int node() const = 0;
  [[nodiscard]] virtual int node_count() const = 0;

  // Called on the transport's own thread, one message at a time; it must not block or throw. Set
  // before start().
  virtual void set_handler(Handler handler) = 0;
  virtual void start() = 0;
  // Sends what is queued, then ends the transport's thread: no handler runs after it. Idempotent.
  virtual void stop() = 0;

  // Queues a message and returns at once. Thread-safe. Throws TransportError when `node` does not
  // exist or the transport is stopped.
  virtual void send(int node, Message message) = 0;
};

}  // namespace desta::runtime
