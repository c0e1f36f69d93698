// The shared memory of the ranks of one host: for each rank a segment that all of them map, with
// the flags by which they tell each other how far they are, and windows through which pass the
// buffers that others cannot see. host_collectives.h builds on it.
//
// Flags count upwards and wrap around. A rank that waits for another's flag looks again for a short
// while (not if the other one was last seen on the same core), then gives its core to others, then
// sleeps on the flag itself (futex).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "runtime/collectives/failure_watch.h"
#include "runtime/collectives/operation.h"
#include "runtime/collectives/peer_group.h"
#include "runtime/collectives/shared_buffer.h"
#include "runtime/core/shared_segment.h"

namespace desta::runtime {

class HostMemory {
 public:
  // Buffers up to this size pass through slots that everyone reads: one flag each instead of two.
  // At 4 KiB an all-reduce of two ranks took 1.5 us, Open MPI's 3.7 us; larger slots were not
  // tried.
  static constexpr std::size_t kSlot = 4 << 10;
  // Bytes of a buffer that are staged at a time, twice: one part is copied in while another is
  // reduced. Of 256 KiB, 1 MiB and 4 MiB the smallest was fastest; copies between two cores alone
  // reached 12 GB/s in windows of 64 KiB, 18 to 21 GB/s in those of 256 KiB and 1 MiB, 15 GB/s in
  // those of 4 MiB.
  static constexpr std::size_t kWindow = 256 << 10;

  struct alignas(64) Flag {
    std::atomic<std::uint32_t> value = 0;
    std::atomic<std::uint32_t> sleepers = 0;
    std::atomic<std::int32_t> core = -1;  // that its rank ran on when it last raised it
  };
  // Where a buffer of a rank lies, for the others of its host.
  struct Place {
    std::int32_t allocation = -1;  // -1: in memory of its own
    std::uint64_t offset = 0;
  };
  // What a rank tells of an operation.
  struct alignas(64) Card {
    Place source;
    Place destination;
  };

  // Over the ranks of `group`, which share a host. Null when one of them cannot see another's
  // memory, the same on all. Collective.
  [[nodiscard]] static std::unique_ptr<HostMemory> make(PeerGroup& group,
                                                        const Operation& operation);
  ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  [[nodiscard]] std::size_t rank() const { return rank_; }
  [[nodiscard]] std::size_t size() const { return ranks_.size(); }

  // The flags: a rank has come to a point, and it has finished a part. The areas and cards are
  // double: `turn` is a count, of which the lowest bit chooses.
  [[nodiscard]] Flag& arrived(std::size_t rank) const { return ranks_[rank]->arrived; }
  [[nodiscard]] Flag& finished(std::size_t rank) const { return ranks_[rank]->finished; }
  [[nodiscard]] Card& card(std::size_t rank, std::uint32_t turn) const {
    return ranks_[rank]->cards[turn & 1U];
  }
  [[nodiscard]] std::byte* slot(std::size_t rank, std::uint32_t turn) const {
    return ranks_[rank]->slots[turn & 1U];
  }
  [[nodiscard]] std::byte* window(std::size_t rank, std::uint32_t turn) const {
    return ranks_[rank]->windows[turn & 1U];
  }
  [[nodiscard]] std::byte* result(std::size_t rank, std::uint32_t turn) const {
    return ranks_[rank]->results[turn & 1U];
  }

  // Sets a flag of this rank and wakes who sleeps on it.
  static void raise(Flag& flag, std::uint32_t value);
  // Until that flag of every other rank has come to `value`. Throws TransportError.
  void await_all(Flag& (HostMemory::*flag)(std::size_t) const, std::uint32_t value,
                 const Operation& operation);
  void await(Flag& flag, std::uint32_t value, std::size_t rank, const Operation& operation);

  // Memory of this rank that the others map. Collective.
  [[nodiscard]] SharedBuffer allocate(std::size_t bytes, const Operation& operation);
  // Where the bytes lie, if all of them are in one allocation of this rank.
  [[nodiscard]] Place find(const void* data, std::size_t bytes) const;
  // The other rank's bytes as this rank sees them; null when they are in memory of its own.
  [[nodiscard]] std::byte* look_up(std::size_t rank, Place place) const;

 private:
  struct Area {
    Flag arrived;
    Flag finished;
    Card cards[2];
    alignas(64) std::byte slots[2][kSlot];
    alignas(4096) std::byte windows[2][kWindow];
    alignas(4096) std::byte results[2][kWindow];
  };
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

  // One allocate(): a segment a rank, each beginning with a page that says whether it is given up.
  struct Allocation {
    std::int32_t number = 0;
    std::size_t bytes = 0;
    std::vector<std::shared_ptr<std::byte>> segments;  // by rank, the header in front
  };
  static constexpr std::size_t kHeader = 4096;
  [[nodiscard]] static std::atomic<std::uint32_t>& given_up(std::byte* segment);

  HostMemory(PeerGroup& group, std::vector<SharedSegment> segments);
  // Forgets the allocations that all ranks have given up.
  void sweep();

  PeerGroup& group_;
  const std::size_t rank_;
  const bool crowded_;  // more ranks than cores
  const std::vector<SharedSegment> segments_;
  std::vector<Area*> ranks_;
  mutable std::mutex mutex_;
  std::vector<Allocation> allocations_;
  std::int32_t next_allocation_ = 0;
};

}  // namespace desta::runtime
