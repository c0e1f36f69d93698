// A group of processes that exchange buffers of a stated dtype: the data plane. Backends (one
// process, MPI with shared memory, NCCL) implement this one interface and are chosen at run time.
//
// Rules for every backend; README.md in this folder says what else is guaranteed.
// - All ranks of a communicator start the same collectives in the same order, blocking or not, from
//   one thread or several. They run one after the other in that order. Messages (send, receive)
//   pair up by (peer, tag) in order and never meet collectives.
// - A buffer belongs to the operation from its start until it has finished: until a blocking call
//   returns, or Work says so.
// - Counts are in elements of the dtype, and the same on all ranks. A source may be its destination,
//   or they do not overlap. Nothing needs to be aligned.
// - A failure of a peer ends in a TransportError that names it. The communicator is of no use after
//   that: each further call fails at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/collectives/reduction.h"
#include "runtime/collectives/shared_buffer.h"
#include "runtime/core/dtype.h"

namespace desta::runtime {

// Payload that this rank has passed to and taken from others, through messages or shared memory.
// README.md says what each algorithm counts.
struct Traffic {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t between_hosts = 0;  // of what was sent: to ranks of other hosts
};

// An operation under way. Destroying an unfinished Work waits for it.
class Work {
 public:
  virtual ~Work() = default;
  // True when the operation has finished, well or not; never blocks.
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
  // The algorithm that an all-reduce of so many bytes runs, and all of the table that says so, for
  // logs and to be pinned (CommunicatorOptions::algorithm). A table that is measured is so with the
  // first all-reduce.
  [[nodiscard]] virtual std::string algorithm(std::size_t bytes) const = 0;
  [[nodiscard]] virtual std::string algorithms() const = 0;

  // Memory in which collectives are fastest: the ranks of a host read and write each other's in
  // place. Collective; all ranks ask for the same size. Page aligned, zeros at first. It may
  // outlive the communicator, and goes back to the system when all ranks have given it up.
  [[nodiscard]] virtual SharedBuffer allocate(std::size_t bytes) = 0;

  // ---- Collectives, blocking ----

  // The result is the same on every rank, to the bit.
  virtual void all_reduce(const void* source, void* destination, std::size_t count, DType dtype,
                          ReduceOp op) = 0;
  // In place.
  void all_reduce(void* data, std::size_t count, DType dtype, ReduceOp op) {
    all_reduce(data, data, count, dtype, op);
  }
  // `source` holds size() segments of `count` elements; `destination` gets segment rank() of the
  // reduction. It may be that segment of the source, whose other segments are left as they were.
  virtual void reduce_scatter(const void* source, void* destination, std::size_t count, DType dtype,
                              ReduceOp op) = 0;
  // `destination` gets size() segments of `count` elements, by rank. The source may be segment
  // rank() of it.
  virtual void all_gather(const void* source, void* destination, std::size_t count,
                          DType dtype) = 0;
  virtual void broadcast(void* data, std::size_t count, DType dtype, int root) = 0;
  virtual void barrier() = 0;

  // ---- The same, under way in the background ----
  //
  // They run on a thread of the communicator, in the order in which they were started.

  [[nodiscard]] virtual std::unique_ptr<Work> all_reduce_async(const void* source,
                                                               void* destination, std::size_t count,
                                                               DType dtype, ReduceOp op) = 0;
  [[nodiscard]] virtual std::unique_ptr<Work> reduce_scatter_async(const void* source,
                                                                   void* destination,
                                                                   std::size_t count, DType dtype,
                                                                   ReduceOp op) = 0;
  [[nodiscard]] virtual std::unique_ptr<Work> all_gather_async(const void* source,
                                                               void* destination, std::size_t count,
                                                               DType dtype) = 0;
  [[nodiscard]] virtual std::unique_ptr<Work> broadcast_async(void* data, std::size_t count,
                                                              DType dtype, int root) = 0;
  [[nodiscard]] virtual std::unique_ptr<Work> barrier_async() = 0;

  // ---- Messages ----
  //
  // A receive of another size than its message is a TransportError, never a buffer filled in part.

  [[nodiscard]] virtual std::unique_ptr<Work> send_async(const void* data, std::size_t bytes,
                                                         int destination, int tag) = 0;
  [[nodiscard]] virtual std::unique_ptr<Work> receive_async(void* data, std::size_t bytes,
                                                            int source, int tag) = 0;
  void send(const void* data, std::size_t bytes, int destination, int tag) {
    send_async(data, bytes, destination, tag)->wait();
  }
  virtual void receive(void* data, std::size_t bytes, int source, int tag) {
    receive_async(data, bytes, source, tag)->wait();
  }
  // Bytes of the next message of that rank with that tag, if it has arrived and no receive waits for it. Never
  // blocks. For messages below 1 GiB; NCCL cannot tell and throws InternalError.
  [[nodiscard]] virtual std::optional<std::size_t> waiting_message(int source, int tag) = 0;

  // A communicator of the ranks that gave the same colour, ordered by rank. Collective.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(int color) = 0;
};

}  // namespace desta::runtime
