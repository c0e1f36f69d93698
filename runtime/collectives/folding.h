// Recursive doubling and halving-doubling pair the ranks of a power of two. Of any other number n
// the first 2 (n - 2^k) ranks fold in pairs: the even one hands its contribution to the odd one and
// gets the result from it at the end.
#pragma once

#include <bit>
#include <cstddef>

#include "runtime/collectives/partial_sums.h"
#include "runtime/collectives/peer_group.h"

namespace desta::runtime {

class Folding {
 public:
  explicit Folding(const PeerGroup& group)
      : rank_(static_cast<std::size_t>(group.rank())),
        places_(std::bit_floor(static_cast<std::size_t>(group.size()))),
        folded_(static_cast<std::size_t>(group.size()) - places_) {}

  // How many take part in the pairing: a power of two.
  [[nodiscard]] std::size_t places() const { return places_; }
  // Whether this rank only hands over and gets back.
  [[nodiscard]] bool is_aside() const { return rank_ < 2 * folded_ && rank_ % 2 == 0; }
  // This rank's place, and the rank at a place; both ascend together.
  [[nodiscard]] std::size_t place() const {
    return rank_ < 2 * folded_ ? rank_ / 2 : rank_ - folded_;
  }
  [[nodiscard]] int rank_at(std::size_t place) const {
    return static_cast<int>(place < folded_ ? 2 * place + 1 : place + folded_);
  }

  // Before the pairing. `scratch` holds as much as the partials.
  void fold(PeerGroup& group, const Partials& partials, std::byte* scratch,
            const Operation& operation) const {
    if (rank_ >= 2 * folded_) {
      return;
    }
    Transfers transfers(group, operation);
    const std::size_t bytes = partials.count * partials.width();
    if (is_aside()) {
      transfers.send(static_cast<int>(rank_) + 1, partials.data, bytes);
      transfers.wait();
    } else {
      transfers.receive(static_cast<int>(rank_) - 1, scratch, bytes);
      transfers.wait();
      partials.combine(scratch, partials.data, 0, partials.count);
    }
  }
  // After it.
  void unfold(PeerGroup& group, const Partials& partials, const Operation& operation) const {
    if (rank_ >= 2 * folded_) {
      return;
    }
    Transfers transfers(group, operation);
    const std::size_t bytes = partials.count * partials.width();
    if (is_aside()) {
      transfers.receive(static_cast<int>(rank_) + 1, partials.data, bytes);
    } else {
      transfers.send(static_cast<int>(rank_) - 1, partials.data, bytes);
    }
    transfers.wait();
  }

 private:
  const std::size_t rank_;
  const std::size_t places_;
  const std::size_t folded_;
};

}  // namespace desta::runtime
