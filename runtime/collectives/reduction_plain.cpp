// The loops for every processor.
#include "runtime/collectives/reduction_kernels.h"

namespace desta::runtime {

const ReductionKernels* plain_reduction_kernels() { return &kKernels; }

}  // namespace desta::runtime
