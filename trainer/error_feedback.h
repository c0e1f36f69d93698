// Rounding that remembers what it has left out.
#pragma once

#include <ATen/ATen.h>

namespace desta::trainer {

// wire = bfloat16(gradient + error), to nearest even; error = gradient + error - wire. All [count],
// contiguous, on one device: float32, float32, bfloat16. On a CPU it is one pass over memory.
void round_with_feedback(const at::Tensor& gradient, at::Tensor& error, at::Tensor& wire);

}  // namespace desta::trainer
