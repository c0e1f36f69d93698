// The loops with AVX2 (the build compiles this file for it), for the processors that have it.
#include "runtime/collectives/reduction.h"

#if defined(__AVX2__)

#include "runtime/collectives/reduction_kernels.h"

namespace desta::runtime {

const ReductionKernels* avx2_reduction_kernels() {
  return __builtin_cpu_supports("avx2") != 0 ? &kKernels : nullptr;
}

}  // namespace desta::runtime

#else

namespace desta::runtime {

const ReductionKernels* avx2_reduction_kernels() { return nullptr; }

}  // namespace desta::runtime

#endif
