#include "runtime/collectives/host_collectives.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace desta::runtime {
namespace {

std::byte* at(void* data, std::size_t offset) { return static_cast<std::byte*>(data) + offset; }
const std::byte* at(const void* data, std::size_t offset) {
  return static_cast<const std::byte*>(data) + offset;
}

void copy_bytes(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0 && to != from) {
    std::memcpy(to, from, bytes);
  }
}

}  // namespace

std::unique_ptr<HostCollectives> HostCollectives::make(PeerGroup& group, TrafficCounters& traffic,
                                                       const Operation& operation) {
  auto memory = HostMemory::make(group, operation);
  return memory == nullptr
             ? nullptr
             : std::unique_ptr<HostCollectives>(new HostCollectives(std::move(memory), traffic));
}

std::uint32_t HostCollectives::next_turn(const Operation& operation) {
  // Whoever has come to the last turn has finished the one before it, whose areas are used next.
  await_arrival(turn_, operation);
  return turn_ + 1;
}

void HostCollectives::count(std::size_t sent, std::size_t received) {
  traffic_.sent += sent;
  traffic_.received += received;
}

void HostCollectives::barrier(const Operation& operation) {
  arrive(++turn_);
  await_arrival(turn_, operation);
}

void HostCollectives::reduce_in_slots(const void* source, void* destination, std::size_t count,
                                      Arithmetic arithmetic, const Operation& operation) {
  const std::uint32_t turn = next_turn(operation);
  copy_bytes(memory_->slot(rank(), turn), source, count * size_of(arithmetic.dtype));
  arrive(turn);
  await_arrival(turn, operation);
  std::vector<const void*> contributions(size());
  for (std::size_t rank = 0; rank < size(); ++rank) {
    contributions[rank] = memory_->slot(rank, turn);
  }
  reduction_kernels().reduce({.contributions = contributions.data(),
                              .contribution_count = size(),
                              .results = &destination,
                              .result_count = 1,
                              .count = count,
                              .dtype = arithmetic.dtype,
                              .op = arithmetic.op,
                              .divisor = arithmetic.divisor});
  turn_ = turn;
  const std::size_t others = (size() - 1) * count * size_of(arithmetic.dtype);
  this->count(others, others);
}

// A reduce-scatter, with or without the all-gather behind it, under way.
//
// Part r of the partition is reduced by rank r, chunk by chunk: chunk k of every part is turn first
// + k. A rank that has raised `arrived` to a turn has put its contribution to that chunk where
// others find it; with `finished` the reduced chunk is where others find it, and nobody's
// contribution is needed any more.
class HostCollectives::Reducing {
 public:
  Reducing(HostCollectives& host, const void* source, void* destination, const Partition& partition,
           Arithmetic arithmetic, bool gather)
      : memory_(*host.memory_),
        own_(host.rank()),
        ranks_(host.size()),
        width_(size_of(arithmetic.dtype)),
        chunk_(HostMemory::kWindow / ranks_ / 64 * 64 / width_),
        source_(source),
        destination_(destination),
        partition_(partition),
        arithmetic_(arithmetic),
        gather_(gather) {}

  // Returns the last turn used.
  std::uint32_t run(std::uint32_t first, const Operation& operation) {
    first_ = first;
    const HostMemory::Card mine{
        memory_.find(source_, partition_.count() * width_),
        gather_ ? memory_.find(destination_, partition_.count() * width_) : HostMemory::Place{}};
    memory_.card(own_, first) = mine;
    source_is_seen_ = mine.source.allocation >= 0;
    destination_is_seen_ = mine.destination.allocation >= 0;
    copy_in(0);
    HostMemory::raise(memory_.arrived(own_), first);
    memory_.await_all(&HostMemory::arrived, first, operation);
    read_cards();
    if (all_seen_) {
      chunk_ = std::max<std::size_t>(partition_.largest(), 1);
    }
    const std::size_t chunks =
        std::max<std::size_t>((partition_.largest() + chunk_ - 1) / chunk_, 1);
    for (std::size_t k = 0; k < chunks; ++k) {
      if (k > 0) {
        memory_.await_all(&HostMemory::finished, turn(k - 1), operation);
        copy_out(k - 1);
      }
      if (k + 1 < chunks) {
        copy_in(k + 1);
        HostMemory::raise(memory_.arrived(own_), turn(k + 1));
      }
      if (k > 0) {
        memory_.await_all(&HostMemory::arrived, turn(k), operation);
      }
      reduce(k);
      HostMemory::raise(memory_.finished(own_), turn(k));
    }
    memory_.await_all(&HostMemory::finished, turn(chunks - 1), operation);
    copy_out(chunks - 1);
    return turn(chunks - 1);
  }

 private:
  struct Piece {
    std::size_t begin = 0;  // elements from the buffer's begin
    std::size_t count = 0;
  };

  [[nodiscard]] std::uint32_t turn(std::size_t chunk) const {
    return first_ + static_cast<std::uint32_t>(chunk);
  }
  [[nodiscard]] Piece piece(std::size_t part, std::size_t chunk) const {
    const std::size_t end = partition_.end(part);
    const std::size_t begin = std::min(partition_.begin(part) + chunk * chunk_, end);
    return {begin, std::min(chunk_, end - begin)};
  }
  [[nodiscard]] std::byte* window(std::size_t rank, std::size_t chunk, std::size_t part) const {
    return memory_.window(rank, turn(chunk)) + part * chunk_ * width_;
  }

  void read_cards() {
    all_seen_ = true;
    sources_.resize(ranks_);
    destinations_.resize(ranks_);
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      const HostMemory::Card& card = memory_.card(rank, first_);
      sources_[rank] = memory_.look_up(rank, card.source);
      destinations_[rank] = memory_.look_up(rank, card.destination);
      all_seen_ =
          all_seen_ && sources_[rank] != nullptr && (!gather_ || destinations_[rank] != nullptr);
    }
  }

  void copy_in(std::size_t chunk) {
    if (source_is_seen_) {
      return;
    }
    for (std::size_t part = 0; part < ranks_; ++part) {
      if (part != own_) {
        const Piece piece = this->piece(part, chunk);
        copy_bytes(window(own_, chunk, part), at(source_, piece.begin * width_),
                   piece.count * width_);
      }
    }
  }

  void reduce(std::size_t chunk) {
    const Piece piece = this->piece(own_, chunk);
    if (piece.count == 0) {
      return;
    }
    contributions_.clear();
    results_.clear();
    bool is_staged = false;
    for (std::size_t rank = 0; rank < ranks_; ++rank) {
      if (rank == own_) {
        contributions_.push_back(at(source_, piece.begin * width_));
        const std::size_t into = gather_ ? piece.begin : piece.begin - partition_.begin(own_);
        results_.push_back(at(destination_, into * width_));
        continue;
      }
      contributions_.push_back(sources_[rank] != nullptr ? sources_[rank] + piece.begin * width_
                                                         : window(rank, chunk, own_));
      if (gather_ && destinations_[rank] != nullptr) {
        results_.push_back(destinations_[rank] + piece.begin * width_);
      }
      is_staged = is_staged || (gather_ && destinations_[rank] == nullptr);
    }
    if (is_staged) {
      results_.push_back(memory_.result(own_, turn(chunk)));
    }
    reduction_kernels().reduce({.contributions = contributions_.data(),
                                .contribution_count = contributions_.size(),
                                .results = results_.data(),
                                .result_count = results_.size(),
                                .count = piece.count,
                                .dtype = arithmetic_.dtype,
                                .op = arithmetic_.op,
                                .divisor = arithmetic_.divisor});
  }

  void copy_out(std::size_t chunk) {
    if (!gather_ || destination_is_seen_) {
      return;
    }
    for (std::size_t part = 0; part < ranks_; ++part) {
      if (part != own_) {
        const Piece piece = this->piece(part, chunk);
        copy_bytes(at(destination_, piece.begin * width_), memory_.result(part, turn(chunk)),
                   piece.count * width_);
      }
    }
  }

  HostMemory& memory_;
  const std::size_t own_;
  const std::size_t ranks_;
  const std::size_t width_;
  std::size_t chunk_;  // elements of a part
  const void* const source_;
  void* const destination_;
  const Partition partition_;
  const Arithmetic arithmetic_;
  const bool gather_;
  std::uint32_t first_ = 0;
  bool source_is_seen_ = false;
  bool destination_is_seen_ = false;
  bool all_seen_ = false;
  std::vector<std::byte*> sources_;
  std::vector<std::byte*> destinations_;
  std::vector<const void*> contributions_;
  std::vector<void*> results_;
};

void HostCollectives::all_reduce(const void* source, void* destination, std::size_t count,
                                 Arithmetic arithmetic, const Operation& operation) {
  const std::size_t width = size_of(arithmetic.dtype);
  if (count * width <= HostMemory::kSlot) {
    reduce_in_slots(source, destination, count, arithmetic, operation);
    return;
  }
  const auto partition = Partition::even(count, size(), width);
  turn_ = Reducing(*this, source, destination, partition, arithmetic, true)
              .run(next_turn(operation), operation);
  const std::size_t own = partition.size(rank()) * width;
  const std::size_t moved = count * width - own + own * (size() - 1);
  this->count(moved, moved);
}

void HostCollectives::reduce_scatter(const void* source, void* destination,
                                     const Partition& partition, Arithmetic arithmetic,
                                     const Operation& operation) {
  turn_ = Reducing(*this, source, destination, partition, arithmetic, false)
              .run(next_turn(operation), operation);
  const std::size_t width = size_of(arithmetic.dtype);
  const std::size_t own = partition.size(rank());
  count((partition.count() - own) * width, own * (size() - 1) * width);
}

void HostCollectives::all_gather(const void* source, void* destination, const Partition& partition,
                                 std::size_t width, const Operation& operation) {
  const std::size_t own = rank();
  const std::uint32_t first = next_turn(operation);
  const HostMemory::Place place = memory_->find(source, partition.size(own) * width);
  memory_->card(own, first).source = place;
  const std::size_t chunk = HostMemory::kWindow / width;
  const std::size_t chunks = std::max<std::size_t>((partition.largest() + chunk - 1) / chunk, 1);
  copy_bytes(at(destination, partition.begin(own) * width), source, partition.size(own) * width);
  std::vector<std::byte*> sources(size());
  for (std::size_t k = 0; k < chunks; ++k) {
    const auto turn = first + static_cast<std::uint32_t>(k);
    const std::size_t skipped = k * chunk;
    const auto count_of = [&](std::size_t part) {
      return std::min(chunk, partition.size(part) - std::min(partition.size(part), skipped));
    };
    if (place.allocation < 0) {
      copy_bytes(memory_->window(own, turn), at(source, skipped * width), count_of(own) * width);
    }
    arrive(turn);
    await_arrival(turn, operation);
    for (std::size_t step = 1; step < size(); ++step) {
      const std::size_t rank = (own + step) % size();
      if (k == 0) {
        sources[rank] = memory_->look_up(rank, memory_->card(rank, first).source);
      }
      copy_bytes(
          at(destination, (partition.begin(rank) + skipped) * width),
          sources[rank] != nullptr ? sources[rank] + skipped * width : memory_->window(rank, turn),
          count_of(rank) * width);
    }
  }
  // A source that others read must stay as it is until all have read it.
  turn_ = first + static_cast<std::uint32_t>(chunks);
  arrive(turn_);
  if (place.allocation >= 0) {
    await_arrival(turn_, operation);
  }
  const std::size_t mine = partition.size(own);
  count(mine * (size() - 1) * width, (partition.count() - mine) * width);
}

void HostCollectives::broadcast(void* data, std::size_t bytes, std::size_t root,
                                const Operation& operation) {
  const std::uint32_t first = next_turn(operation);
  const std::size_t chunks =
      std::max<std::size_t>((bytes + HostMemory::kWindow - 1) / HostMemory::kWindow, 1);
  HostMemory::Place place;
  if (rank() == root) {
    place = memory_->find(data, bytes);
    memory_->card(root, first).source = place;
  }
  const std::byte* source = nullptr;
  for (std::size_t k = 0; k < chunks; ++k) {
    const auto turn = first + static_cast<std::uint32_t>(k);
    const std::size_t begin = k * HostMemory::kWindow;
    const std::size_t length = std::min(HostMemory::kWindow, bytes - begin);
    if (rank() == root) {
      if (place.allocation < 0) {
        if (k >= 2) {
          await_arrival(turn - 2, operation);  // they have read what lay there
        }
        copy_bytes(memory_->window(root, turn), at(data, begin), length);
      }
    } else {
      memory_->await(memory_->arrived(root), turn, root, operation);
      if (k == 0) {
        source = memory_->look_up(root, memory_->card(root, first).source);
      }
      copy_bytes(at(data, begin), source != nullptr ? source + begin : memory_->window(root, turn),
                 length);
    }
    arrive(turn);
  }
  turn_ = first + static_cast<std::uint32_t>(chunks) - 1;
  if (rank() == root && place.allocation >= 0) {
    await_arrival(turn_, operation);
  }
  if (rank() == root) {
    count(bytes * (size() - 1), 0);
  } else {
    count(0, bytes);
  }
}

}  // namespace desta::runtime
