// The loops with AVX-512 (the build compiles this file for it), for the processors that have it.
#include "runtime/collectives/reduction.h"

#if defined(__AVX512BW__)

#include "runtime/collectives/reduction_kernels.h"

namespace desta::runtime {

const ReductionKernels* avx512_reduction_kernels() {
  const bool can =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  return can ? &kKernels : nullptr;
}

}  // namespace desta::runtime

#else

namespace desta::runtime {

const ReductionKernels* avx512_reduction_kernels() { return nullptr; }

}  // namespace desta::runtime

#endif
