// What ring, recursive doubling and halving-doubling have in common: sums that travel unfinished.
// Those of half types travel in float32, so that they are rounded once, at the end.
#pragma once

#include <cstddef>
#include <cstring>

#include "runtime/collectives/flat_algorithms.h"

namespace desta::runtime {

// The sums of a reduction as they are passed on.
struct Partials {
  std::byte* data = nullptr;
  std::size_t count = 0;
  DType dtype = DType::kFloat32;
  ReduceOp op = ReduceOp::kSum;

  [[nodiscard]] std::size_t width() const { return size_of(dtype); }
  [[nodiscard]] std::byte* at(std::size_t element) const { return data + element * width(); }

  // Elements [begin, begin + count) become lower (+) higher, one of which may be those elements.
  void combine(const void* lower, const void* higher, std::size_t begin, std::size_t length) const {
    const void* const contributions[] = {lower, higher};
    void* const result = at(begin);
    reduction_kernels().reduce({.contributions = contributions,
                                .contribution_count = 2,
                                .results = &result,
                                .result_count = 1,
                                .count = length,
                                .dtype = dtype,
                                .op = op});
  }
};

// Calls `reduce(partials)`, which begin as this rank's contribution and end as the sum of all, and
// leaves the finished result in the destination.
template <typename Reduce>
void with_partials(const Vectors& vectors, FlatScratch& scratch, Reduce reduce) {
  const Arithmetic& arithmetic = vectors.arithmetic;
  if (is_half(arithmetic.dtype)) {
    std::byte* const sums = scratch.partials.take(vectors.count * sizeof(float));
    reduction_kernels().widen(vectors.source, reinterpret_cast<float*>(sums), vectors.count,
                              arithmetic.dtype);
    reduce(Partials{sums, vectors.count, DType::kFloat32, arithmetic.op});
    reduction_kernels().narrow(reinterpret_cast<const float*>(sums), vectors.destination,
                               vectors.count, arithmetic.dtype, arithmetic.divisor);
    return;
  }
  if (vectors.destination != vectors.source) {
    std::memcpy(vectors.destination, vectors.source, vectors.count * size_of(arithmetic.dtype));
  }
  reduce(Partials{static_cast<std::byte*>(vectors.destination), vectors.count, arithmetic.dtype,
                  arithmetic.op});
  if (arithmetic.divisor > 1) {
    const void* const sum = vectors.destination;
    reduction_kernels().reduce({.contributions = &sum,
                                .contribution_count = 1,
                                .results = &vectors.destination,
                                .result_count = 1,
                                .count = vectors.count,
                                .dtype = arithmetic.dtype,
                                .op = arithmetic.op,
                                .divisor = arithmetic.divisor});
  }
}

}  // namespace desta::runtime
