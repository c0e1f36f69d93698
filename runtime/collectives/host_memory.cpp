#include "runtime/collectives/host_memory.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "runtime/collectives/wait_stages.h"
#include "runtime/core/wire.h"

namespace desta::runtime {
namespace {

// A rank asleep on a flag looks for failures, and keeps the transport moving, at this interval.
constexpr timespec kNap{0, 1'000'000};

bool reached(const std::atomic<std::uint32_t>& flag, std::uint32_t value) {
  return static_cast<std::int32_t>(flag.load(std::memory_order_acquire) - value) >= 0;
}

std::size_t available_cores() {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof(cores), &cores) == 0
             ? static_cast<std::size_t>(CPU_COUNT(&cores))
             : 1;
}

// Segments of all ranks, by rank; each rank gives its own. Empty when one of them cannot be seen by
// another, the same on all ranks.
std::vector<SharedSegment> exchange_segments(PeerGroup& group, SharedSegment mine,
                                             const Operation& operation) {
  const auto addresses = group.gather(pack(mine.address()), operation);
  std::vector<SharedSegment> all;
  bool seen = true;
  for (std::size_t rank = 0; rank < addresses.size(); ++rank) {
    if (rank == static_cast<std::size_t>(group.rank())) {
      all.push_back(std::move(mine));
      continue;
    }
    auto other = SharedSegment::open(unpack<SharedSegment::Address>(addresses[rank]),
                                     SharedSegment::Access::kWrite);
    if (!other.has_value()) {
      seen = false;
      break;
    }
    all.push_back(std::move(*other));
  }
  const auto verdicts = group.gather(seen ? "1" : "0", operation);
  if (std::ranges::find(verdicts, "0") != verdicts.end()) {
    return {};
  }
  for (SharedSegment& segment : all) {
    segment.close();  // all have it; nobody else may
  }
  return all;
}

}  // namespace

std::unique_ptr<HostMemory> HostMemory::make(PeerGroup& group, const Operation& operation) {
  SharedSegment mine = SharedSegment::create(sizeof(Area));
  new (mine.memory().get()) Area;
  auto segments = exchange_segments(group, std::move(mine), operation);
  if (segments.empty()) {
    return nullptr;
  }
  return std::unique_ptr<HostMemory>(new HostMemory(group, std::move(segments)));
}

HostMemory::HostMemory(PeerGroup& group, std::vector<SharedSegment> segments)
    : group_(group),
      rank_(static_cast<std::size_t>(group.rank())),
      crowded_(segments.size() > available_cores()),
      segments_(std::move(segments)) {
  for (std::size_t rank = 0; rank < segments_.size(); ++rank) {
    ranks_.push_back(std::launder(reinterpret_cast<Area*>(segments_[rank].memory().get())));
    if (rank != rank_) {
      group_.watch().watch_process(group_.member(static_cast<int>(rank)),
                                   segments_[rank].address().process);
    }
  }
}

HostMemory::~HostMemory() = default;

void HostMemory::raise(Flag& flag, std::uint32_t value) {
  // The sleeper counts itself, then looks at the flag; here the flag is set, then the sleepers are
  // counted: one of the two sees the other.
  flag.core.store(sched_getcpu(), std::memory_order_relaxed);
  flag.value.store(value, std::memory_order_seq_cst);
  if (flag.sleepers.load(std::memory_order_seq_cst) != 0) {
    syscall(SYS_futex, &flag.value, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
  }
}

void HostMemory::await_all(Flag& (HostMemory::*flag)(std::size_t) const, std::uint32_t value,
                           const Operation& operation) {
  for (std::size_t step = 1; step < size(); ++step) {
    const std::size_t rank = (rank_ + step) % size();
    await((this->*flag)(rank), value, rank, operation);
  }
}

void HostMemory::await(Flag& flag, std::uint32_t value, std::size_t rank,
                       const Operation& operation) {
  if (reached(flag.value, value)) {
    return;
  }
  const auto start = FailureWatch::Clock::now();
  const bool spins = !crowded_ && flag.core.load(std::memory_order_relaxed) != sched_getcpu();
  while (!reached(flag.value, value)) {
    const auto waited = FailureWatch::Clock::now() - start;
    if (spins && waited < kSpin) {
      for (int look = 0; look < 16 && !reached(flag.value, value); ++look) {
        relax_core();
      }
      continue;
    }
    if (waited < kYield) {
      sched_yield();
      continue;
    }
    group_.watch().check(operation, start, group_.member(static_cast<int>(rank)));
    flag.sleepers.fetch_add(1, std::memory_order_seq_cst);
    const std::uint32_t seen = flag.value.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(seen - value) < 0) {
      syscall(SYS_futex, &flag.value, FUTEX_WAIT, seen, &kNap, nullptr, 0);
    }
    flag.sleepers.fetch_sub(1, std::memory_order_seq_cst);
  }
}

std::atomic<std::uint32_t>& HostMemory::given_up(std::byte* segment) {
  return *std::launder(reinterpret_cast<std::atomic<std::uint32_t>*>(segment));
}

SharedBuffer HostMemory::allocate(std::size_t bytes, const Operation& operation) {
  SharedSegment mine = SharedSegment::create(kHeader + std::max<std::size_t>(bytes, 1));
  const std::shared_ptr<std::byte> memory = mine.memory();
  new (memory.get()) std::atomic<std::uint32_t>(0);
  auto segments = exchange_segments(group_, std::move(mine), operation);
  const std::lock_guard lock(mutex_);
  sweep();
  Allocation allocation{next_allocation_++, bytes, {}};
  for (const SharedSegment& segment : segments) {
    allocation.segments.push_back(segment.memory());
  }
  if (!segments.empty()) {
    allocations_.push_back(std::move(allocation));
  }
  // The buffer's end is a mark in the memory, which every rank's sweep finds.
  std::shared_ptr<void> owner(memory.get(), [memory](void*) { given_up(memory.get()).store(1); });
  return {std::move(owner), {memory.get() + kHeader, bytes}};
}

void HostMemory::sweep() {
  std::erase_if(allocations_, [](const Allocation& allocation) {
    return std::ranges::all_of(allocation.segments, [](const std::shared_ptr<std::byte>& segment) {
      return given_up(segment.get()).load() != 0;
    });
  });
}

HostMemory::Place HostMemory::find(const void* data, std::size_t bytes) const {
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  const std::lock_guard lock(mutex_);
  for (const Allocation& allocation : allocations_) {
    const auto base = reinterpret_cast<std::uintptr_t>(allocation.segments[rank_].get() + kHeader);
    if (begin >= base && begin - base <= allocation.bytes &&
        bytes <= allocation.bytes - (begin - base)) {
      return {allocation.number, begin - base};
    }
  }
  return {};
}

std::byte* HostMemory::look_up(std::size_t rank, Place place) const {
  if (place.allocation < 0) {
    return nullptr;
  }
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(allocations_, place.allocation, &Allocation::number);
  if (found == allocations_.end()) {
    throw InternalError("rank {} reduces in memory that this rank does not know", rank);
  }
  return found->segments[rank].get() + kHeader + place.offset;
}

}  // namespace desta::runtime
