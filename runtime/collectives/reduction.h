// The arithmetic of an all-reduce: the contributions of all ranks to one segment become one.
#pragma once

#include <cstddef>
#include <span>

#include "runtime/collectives/communicator.h"
#include "runtime/core/dtype.h"

namespace desta::runtime {

// Reduces `contributions` (one buffer of `count` elements a rank, in rank order) into `result`,
// which may be one of them. Always from rank 0 upwards, so the bits depend on nothing else. float16
// and bfloat16 are added in float32 and rounded once, to nearest even. The average of integers
// rounds towards zero.
void reduce_contributions(std::span<const void* const> contributions, void* result,
                          std::size_t count, DType dtype, ReduceOp op);

}  // namespace desta::runtime
