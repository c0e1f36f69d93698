// A group of processes that exchange buffers of a stated dtype: the data plane. Backends (one
// process, MPI, NCCL) implement this one interface and are chosen at run time.
//
// Every call on a communicator is made by all of its ranks in the same order, except send and
// receive, which pair up by (peer, tag) in order. Buffers must stay valid until the call, or the
// returned Work, has finished. Errors of a peer end in a TransportError that names it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "runtime/core/dtype.h"

namespace desta::runtime {

enum class ReduceOp : std::uint8_t { kSum, kAverage, kMax, kMin };

// Bytes that this rank has put on and taken off the wire, payload only. A collective counts what
// its algorithm must move at least (ring bound): all-reduce 2 (n-1)/n of the buffer, and so on.
struct Traffic {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
};

// An operation under way. Destroying an unfinished Work waits for it.
class Work {
 public:
  virtual ~Work() = default;
  // True when the operation has finished; never blocks.
  [[nodiscard]] virtual bool done() = 0;
  // Blocks until it has finished. Throws TransportError when it failed or timed out.
  virtual void wait() = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  // "local", "mpi", "nccl".
  [[nodiscard]] virtual std::string_view backend() const = 0;
  [[nodiscard]] virtual Traffic traffic() const = 0;

  // In place; count is in elements. The result is the same on every rank, to the bit.
  virtual void all_reduce(void* data, std::size_t count, DType dtype, ReduceOp op) = 0;
  virtual void broadcast(void* data, std::size_t count, DType dtype, int root) = 0;
  virtual void barrier() = 0;

  // Point to point. A receive whose buffer is smaller than the message is a TransportError.
  virtual void receive(void* data, std::size_t bytes, int source, int tag) = 0;
  [[nodiscard]] virtual std::unique_ptr<Work> send_async(const void* data, std::size_t bytes,
                                                         int destination, int tag) = 0;
  void send(const void* data, std::size_t bytes, int destination, int tag) {
    send_async(data, bytes, destination, tag)->wait();
  }

  // A communicator of the ranks that gave the same colour, ordered by rank. Collective.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(int color) = 0;
};

}  // namespace desta::runtime
