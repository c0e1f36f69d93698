#include <algorithm>
#include <vector>

#include "runtime/collectives/flat_algorithms.h"
#include "runtime/collectives/partition.h"

namespace desta::runtime {
namespace {

// The buffer is worked through in pieces of this size: a rank needs (n-1)/n of one for what comes.
constexpr std::size_t kPiece = std::size_t{8} << 20;

void reduce_piece(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                  const Operation& operation) {
  const std::size_t width = size_of(vectors.arithmetic.dtype);
  const auto ranks = static_cast<std::size_t>(group.size());
  const auto own = static_cast<std::size_t>(group.rank());
  const auto parts = Partition::even(vectors.count, ranks, width);
  const auto bytes_of = [&](std::size_t part) { return parts.size(part) * width; };
  const auto* source = static_cast<const std::byte*>(vectors.source);
  auto* destination = static_cast<std::byte*>(vectors.destination);

  std::byte* place = scratch.messages.take(bytes_of(own) * (ranks - 1));
  std::vector<const void*> contributions(ranks);
  Transfers contribute(group, operation);
  for (std::size_t peer = 0; peer < ranks; ++peer) {
    if (peer == own) {
      contributions[peer] = source + parts.begin(own) * width;
    } else if (bytes_of(own) > 0) {
      contributions[peer] = place;
      contribute.receive(static_cast<int>(peer), place, bytes_of(own));
      place += bytes_of(own);
    }
  }
  // Every rank starts with its neighbour, so that not all begin with rank 0.
  for (std::size_t step = 1; step < ranks; ++step) {
    const std::size_t peer = (own + step) % ranks;
    if (bytes_of(peer) > 0) {
      contribute.send(static_cast<int>(peer), source + parts.begin(peer) * width, bytes_of(peer));
    }
  }
  contribute.wait();

  void* const result = destination + parts.begin(own) * width;
  reduction_kernels().reduce({.contributions = contributions.data(),
                              .contribution_count = ranks,
                              .results = &result,
                              .result_count = 1,
                              .count = parts.size(own),
                              .dtype = vectors.arithmetic.dtype,
                              .op = vectors.arithmetic.op,
                              .divisor = vectors.arithmetic.divisor});

  Transfers share(group, operation);
  for (std::size_t step = 1; step < ranks; ++step) {
    const std::size_t peer = (own + step) % ranks;
    if (bytes_of(peer) > 0) {
      share.receive(static_cast<int>(peer), destination + parts.begin(peer) * width,
                    bytes_of(peer));
    }
    if (bytes_of(own) > 0) {
      share.send(static_cast<int>(peer), result, bytes_of(own));
    }
  }
  share.wait();
}

}  // namespace

void direct_all_reduce(PeerGroup& group, const Vectors& vectors, FlatScratch& scratch,
                       const Operation& operation) {
  const std::size_t width = size_of(vectors.arithmetic.dtype);
  const std::size_t piece = kPiece / width;
  for (std::size_t begin = 0; begin < vectors.count; begin += piece) {
    reduce_piece(group,
                 {static_cast<const std::byte*>(vectors.source) + begin * width,
                  static_cast<std::byte*>(vectors.destination) + begin * width,
                  std::min(piece, vectors.count - begin), vectors.arithmetic},
                 scratch, operation);
  }
}

}  // namespace desta::runtime
