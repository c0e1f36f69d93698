// Matrix products for text generation: a row's result never depends on the other rows.
//
// The products of a BLAS and of oneDNN do not promise this: they cut their work by the number of rows, and so
// the last bits of a row change with its neighbours. Here each number is summed over the inputs in one order,
// whatever else is computed beside it. Weights are read as they lie: a product of few rows costs what it costs to
// read them.
#pragma once

#include <ATen/ATen.h>

#include <string_view>
#include <vector>

namespace desta::models {

// Ways to compute a product. They differ in rounding; which one is taken depends on the machine, the type and
// the weight's shape alone.
enum class RowKernel {
  kPlain,       // loops, for every machine
  kAvx512,      // fused multiply-adds, 16 inputs a vector
  kAvx512Bf16,  // AVX-512's dot products of bfloat16 pairs, 32 inputs a vector
  kAmx,         // tiles of 16 x 16, bfloat16 only
};

// x [..., in], weight [out, in] -> [..., out], in x's type, or in float32 if `wide`. Sums are in float32.
// On a CPU in float32 or bfloat16 a row's bits depend on that row and the weight alone; elsewhere it is
// at::linear, which promises no such thing. No gradient.
[[nodiscard]] at::Tensor row_product(const at::Tensor& x, const at::Tensor& weight, bool wide = false);

// The same by a kernel of choice, which must be among row_kernels() of the weight.
[[nodiscard]] at::Tensor row_product(const at::Tensor& x, const at::Tensor& weight, bool wide,
                                     RowKernel kernel);

// Those that can multiply with `weight` [out, in] here, the fastest last.
[[nodiscard]] std::vector<RowKernel> row_kernels(const at::Tensor& weight);
[[nodiscard]] std::string_view name_of(RowKernel kernel);

}  // namespace desta::models
