// The arithmetic of a reduction: the contributions of all ranks to one segment become one. Always
// from the first contribution upwards, so the bits depend on nothing else, the processor's vector
// instructions included. float16 and bfloat16 are added in float32 and rounded once, to nearest
// even; integers wrap around; the average of integers rounds towards zero; a maximum or minimum
// with a NaN in it is a NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/core/dtype.h"

namespace desta::runtime {

enum class ReduceOp : std::uint8_t { kSum, kAverage, kMax, kMin };

[[nodiscard]] constexpr bool is_half(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

// How elements are combined.
struct Arithmetic {
  DType dtype = DType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  int divisor = 1;  // the sum is divided by it before it is rounded
};

// One reduction, as the loops see it. Contributions and results are buffers of `count` elements of
// any alignment; a result may be one of the contributions, but they never overlap in part.
struct ReduceTask {
  const void* const* contributions = nullptr;
  std::size_t contribution_count = 0;
  void* const* results = nullptr;  // each gets all of it
  std::size_t result_count = 0;
  std::size_t count = 0;
  DType dtype = DType::kFloat32;
  ReduceOp op = ReduceOp::kSum;
  int divisor = 1;         // the sum is divided by it before it is rounded
  bool streaming = false;  // results are written past the caches
};

struct ReductionKernels {
  void (*reduce)(const ReduceTask& task);
  // Between a half type and float32. The quotient by `divisor` is rounded.
  void (*widen)(const void* from, float* to, std::size_t count, DType dtype);
  void (*narrow)(const float* from, void* to, std::size_t count, DType dtype, int divisor);
  // memcpy past the caches.
  void (*stream_copy)(void* to, const void* from, std::size_t bytes);
};

// The fastest that this processor can run. All give the same bits.
[[nodiscard]] const ReductionKernels& reduction_kernels();

// Each set of loops by the vector instructions it needs; null where they are not to be had.
[[nodiscard]] const ReductionKernels* avx512_reduction_kernels();
[[nodiscard]] const ReductionKernels* avx2_reduction_kernels();
[[nodiscard]] const ReductionKernels* plain_reduction_kernels();

// Reduces `contributions` (one buffer of `count` elements a rank, in rank order) into `result`,
// which may be one of them. An average divides by their number.
void reduce_contributions(std::span<const void* const> contributions, void* result,
                          std::size_t count, DType dtype, ReduceOp op);

}  // namespace desta::runtime
