#include <algorithm>
#include <memory>
#include <utility>

#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/partial_sums.h"
#include "runtime/collectives/partition.h"

namespace desta::runtime {
namespace {

// A segment travels in chunks of this size, so that one is added and passed on while the next one
// comes. As large as the windows of shared memory; no other size was tried.
constexpr std::size_t kChunk = std::size_t{256} << 10;

class Ring {
 public:
  Ring(PeerGroup& group, const Partials& partials, Scratch& scratch, const Operation& operation)
      : group_(group),
        partials_(partials),
        operation_(operation),
        ranks_(static_cast<std::size_t>(group.size())),
        own_(static_cast<std::size_t>(group.rank())),
        parts_(Partition::even(partials.count, ranks_, partials.width())),
        chunk_(std::min(kChunk / partials.width(), parts_.largest())),
        chunks_((parts_.largest() + chunk_ - 1) / chunk_),
        scratch_(scratch.take(2 * chunk_ * partials.width())) {}

  // Part r begins at rank r, which sends it on; rank r - 1 is the last to add to it.
  void reduce_scatter() {
    Transfers sends(group_, operation_);
    for (std::size_t k = 0; k < chunks_; ++k) {
      send(sends, own_, k);
    }
    walk([&](std::size_t step, std::size_t k, Transfers& receive,
             std::size_t place) { receive_into(receive, part(step + 1), k, buffer(place)); },
         [&](std::size_t step, std::size_t k, std::size_t place) {
           const std::size_t part = this->part(step + 1);
           partials_.combine(buffer(place), partials_.at(begin(part, k)), begin(part, k),
                             length(part, k));
           if (step + 2 < ranks_) {
             send(sends, part, k);
           }
         });
    sends.wait();
  }

  void all_gather() {
    Transfers sends(group_, operation_);
    for (std::size_t k = 0; k < chunks_; ++k) {
      send(sends, part(ranks_ - 1), k);
    }
    walk(
        [&](std::size_t step, std::size_t k, Transfers& receive, std::size_t) {
          const std::size_t part = this->part(ranks_ + step);
          receive_into(receive, part, k, partials_.at(begin(part, k)));
        },
        [&](std::size_t step, std::size_t k, std::size_t) {
          if (step + 2 < ranks_) {
            send(sends, part(ranks_ + step), k);
          }
        });
    sends.wait();
  }

 private:
  // The part that comes `steps` hops from behind.
  [[nodiscard]] std::size_t part(std::size_t steps) const {
    return (own_ + 2 * ranks_ - steps) % ranks_;
  }
  [[nodiscard]] std::size_t begin(std::size_t part, std::size_t chunk) const {
    return std::min(parts_.begin(part) + chunk * chunk_, parts_.end(part));
  }
  [[nodiscard]] std::size_t length(std::size_t part, std::size_t chunk) const {
    return begin(part, chunk + 1) - begin(part, chunk);
  }
  [[nodiscard]] std::byte* buffer(std::size_t place) const {
    return scratch_ + place % 2 * chunk_ * partials_.width();
  }

  void send(Transfers& sends, std::size_t part, std::size_t chunk) {
    if (length(part, chunk) > 0) {
      sends.send(static_cast<int>((own_ + 1) % ranks_), partials_.at(begin(part, chunk)),
                 length(part, chunk) * partials_.width());
    }
  }
  void receive_into(Transfers& receive, std::size_t part, std::size_t chunk, std::byte* to) {
    if (length(part, chunk) > 0) {
      receive.receive(static_cast<int>((own_ + ranks_ - 1) % ranks_), to,
                      length(part, chunk) * partials_.width());
    }
  }

  // For each chunk of each of the n - 1 steps: `post` its receive one ahead, `take` it when it is
  // there.
  template <typename Post, typename Take>
  void walk(Post post, Take take) {
    const std::size_t all = (ranks_ - 1) * chunks_;
    std::unique_ptr<Transfers> current;
    for (std::size_t i = 0; i <= all; ++i) {
      auto next = std::make_unique<Transfers>(group_, operation_);
      if (i < all) {
        post(i / chunks_, i % chunks_, *next, i);
      }
      if (i > 0) {
        current->wait();
        take((i - 1) / chunks_, (i - 1) % chunks_, i - 1);
      }
      current = std::move(next);
    }
  }

  PeerGroup& group_;
  const Partials& partials_;
  const Operation& operation_;
  const std::size_t ranks_;
  const std::size_t own_;
  const Partition parts_;
  const std::size_t chunk_;  // elements
  const std::size_t chunks_;
  std::byte* const scratch_;
};

}  // namespace

void ring_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                     const Operation& operation) {
  with_partials(vectors, scratch, [&](const Partials& partials) {
    Ring ring(group, partials, scratch.messages, operation);
    ring.reduce_scatter();
    ring.all_gather();
  });
}

}  // namespace desta::runtime
