#include "runtime/collectives/reduction.h"

namespace desta::runtime {
namespace {

const ReductionKernels& fastest_kernels() {
  for (const ReductionKernels* kernels : {avx512_reduction_kernels(), avx2_reduction_kernels()}) {
    if (kernels != nullptr) {
      return *kernels;
    }
  }
  return *plain_reduction_kernels();
}

}  // namespace

const ReductionKernels& reduction_kernels() {
  static const ReductionKernels& kernels = fastest_kernels();
  return kernels;
}

void reduce_contributions(std::span<const void* const> contributions, void* result,
                          std::size_t count, DType dtype, ReduceOp op) {
  reduction_kernels().reduce(
      {.contributions = contributions.data(),
       .contribution_count = contributions.size(),
       .results = &result,
       .result_count = 1,
       .count = count,
       .dtype = dtype,
       .op = op,
       .divisor = op == ReduceOp::kAverage ? static_cast<int>(contributions.size()) : 1});
}

}  // namespace desta::runtime
