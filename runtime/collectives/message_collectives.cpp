#include "runtime/collectives/message_collectives.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace desta::runtime {
namespace {

constexpr std::size_t kScatterPiece = std::size_t{1} << 20;    // of a segment
constexpr std::size_t kBroadcastPiece = std::size_t{1} << 20;  // small: a chain fills up with them

}  // namespace

void pairwise_reduce_scatter(PeerGroup& group, const Vectors& vectors, Scratch& scratch,
                             const Operation& operation) {
  const std::size_t width = size_of(vectors.arithmetic.dtype);
  const auto ranks = static_cast<std::size_t>(group.size());
  const auto own = static_cast<std::size_t>(group.rank());
  const auto* source = static_cast<const std::byte*>(vectors.source);
  const std::size_t piece = kScatterPiece / width;
  const auto segment = [&](std::size_t rank, std::size_t begin) {
    return source + (rank * vectors.count + begin) * width;
  };
  for (std::size_t begin = 0; begin < vectors.count; begin += piece) {
    const std::size_t length = std::min(piece, vectors.count - begin);
    std::byte* const messages = scratch.take((ranks - 1) * length * width);
    std::vector<const void*> contributions(ranks);
    contributions[own] = segment(own, begin);
    Transfers transfers(group, operation);
    for (std::size_t step = 1; step < ranks; ++step) {
      const std::size_t from = (own + ranks - step) % ranks;
      std::byte* const place = messages + (step - 1) * length * width;
      contributions[from] = place;
      transfers.receive(static_cast<int>(from), place, length * width);
      const std::size_t to = (own + step) % ranks;
      transfers.send(static_cast<int>(to), segment(to, begin), length * width);
    }
    transfers.wait();
    void* const result = static_cast<std::byte*>(vectors.destination) + begin * width;
    reduction_kernels().reduce({.contributions = contributions.data(),
                                .contribution_count = ranks,
                                .results = &result,
                                .result_count = 1,
                                .count = length,
                                .dtype = vectors.arithmetic.dtype,
                                .op = vectors.arithmetic.op,
                                .divisor = vectors.arithmetic.divisor});
  }
}

void ring_all_gather(PeerGroup& group, const void* source, void* destination, std::size_t bytes,
                     const Operation& operation) {
  const auto ranks = static_cast<std::size_t>(group.size());
  const auto own = static_cast<std::size_t>(group.rank());
  auto* const all = static_cast<std::byte*>(destination);
  if (bytes == 0) {
    return;
  }
  if (all + own * bytes != source) {
    std::memcpy(all + own * bytes, source, bytes);
  }
  for (std::size_t step = 0; step + 1 < ranks; ++step) {
    Transfers transfers(group, operation);
    transfers.receive(static_cast<int>((own + ranks - 1) % ranks),
                      all + (own + 2 * ranks - step - 1) % ranks * bytes, bytes);
    transfers.send(static_cast<int>((own + 1) % ranks), all + (own + ranks - step) % ranks * bytes,
                   bytes);
    transfers.wait();
  }
}

void chain_broadcast(PeerGroup& group, void* data, std::size_t bytes, int root,
                     const Operation& operation) {
  const int ranks = group.size();
  const int previous = (group.rank() + ranks - 1) % ranks;
  const int next = (group.rank() + 1) % ranks;
  Transfers sends(group, operation);
  for (std::size_t offset = 0; offset < bytes; offset += kBroadcastPiece) {
    const std::size_t length = std::min(kBroadcastPiece, bytes - offset);
    std::byte* const piece = static_cast<std::byte*>(data) + offset;
    if (group.rank() != root) {
      Transfers receive(group, operation);
      receive.receive(previous, piece, length);
      receive.wait();
    }
    if (next != root) {
      sends.send(next, piece, length);
    }
  }
  sends.wait();
}

void message_barrier(PeerGroup& group, const Operation& operation) {
  Transfers transfers(group, operation);
  for (int peer = 0; peer < group.size(); ++peer) {
    if (peer != group.rank()) {
      transfers.receive(peer, nullptr, 0);
      transfers.send(peer, nullptr, 0);
    }
  }
  transfers.wait();
}

}  // namespace desta::runtime
