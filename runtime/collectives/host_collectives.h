// Collectives of the ranks of one host, in shared memory. What each costs stands in README.md.
//
// Each rank reduces a part of the buffer from the memory of all ranks into the memory of all ranks.
// A buffer that the communicator allocated is read and written where it lies; any other passes
// through windows, in chunks, so that copying one in, reducing the next and copying the last one
// out overlap between the ranks. Both ways add from rank 0 upwards and give the same bits.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/collectives/host_memory.h"
#include "runtime/collectives/operation.h"
#include "runtime/collectives/partition.h"
#include "runtime/collectives/peer_group.h"
#include "runtime/collectives/reduction.h"

namespace desta::runtime {

class HostCollectives {
 public:
  // All ranks of the host; null where they cannot share memory. Collective.
  [[nodiscard]] static std::unique_ptr<HostCollectives> make(PeerGroup& group,
                                                             TrafficCounters& traffic,
                                                             const Operation& operation);

  // The whole of `source` reduced into `destination` of every rank; they may be the same.
  void all_reduce(const void* source, void* destination, std::size_t count, Arithmetic arithmetic,
                  const Operation& operation);
  // Part i of the partition of `source` reduced to `destination` of rank i, which points to the
  // part alone and may be where it lies in the source.
  void reduce_scatter(const void* source, void* destination, const Partition& partition,
                      Arithmetic arithmetic, const Operation& operation);
  // `source` is part rank() of the partition; `destination` gets all parts. The source may be that
  // part of the destination.
  void all_gather(const void* source, void* destination, const Partition& partition,
                  std::size_t width, const Operation& operation);
  void broadcast(void* data, std::size_t bytes, std::size_t root, const Operation& operation);
  void barrier(const Operation& operation);
  [[nodiscard]] SharedBuffer allocate(std::size_t bytes, const Operation& operation) {
    return memory_->allocate(bytes, operation);
  }

  [[nodiscard]] std::size_t rank() const { return memory_->rank(); }
  [[nodiscard]] std::size_t size() const { return memory_->size(); }

 private:
  class Reducing;

  HostCollectives(std::unique_ptr<HostMemory> memory, TrafficCounters& traffic)
      : memory_(std::move(memory)), traffic_(traffic) {}

  void reduce_in_slots(const void* source, void* destination, std::size_t count,
                       Arithmetic arithmetic, const Operation& operation);
  // Begins an operation: the next turn, once all ranks have come to the last one.
  [[nodiscard]] std::uint32_t next_turn(const Operation& operation);
  void count(std::size_t sent, std::size_t received);
  void arrive(std::uint32_t turn) { HostMemory::raise(memory_->arrived(rank()), turn); }
  void await_arrival(std::uint32_t turn, const Operation& operation) {
    memory_->await_all(&HostMemory::arrived, turn, operation);
  }

  std::unique_ptr<HostMemory> memory_;
  TrafficCounters& traffic_;
  std::uint32_t turn_ = 0;  // the last one used: every chunk, every barrier is one
};

}  // namespace desta::runtime
