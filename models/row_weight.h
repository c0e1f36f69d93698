// A weight and the kernel that multiplies by it, for callers that hold raw memory and share the work out among threads
// themselves: row_product() over tensors, the layers of llama_rows.cpp.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

#include "models/row_product.h"

namespace desta::models {

template <typename T>
struct RowWeight {
  const T* data = nullptr;  // [outs, in]
  std::int64_t in = 0;
  std::int64_t outs = 0;
  RowKernel kernel = RowKernel::kPlain;  // not kAmx

  // `weight` [outs, in], contiguous on a CPU, must outlive this.
  static RowWeight of(const at::Tensor& weight, RowKernel kernel) {
    return {weight.data_ptr<T>(), weight.size(1), weight.size(0), kernel};
  }

  // Outputs that a thread takes at a time: a sixteenth of them, so that threads end together, and no more than fit
  // a second-level cache. It depends on the shape alone.
  [[nodiscard]] std::int64_t share() const {
    constexpr std::int64_t kStep = 16;
    constexpr std::int64_t kShareNumbers = 1 << 17;
    const auto sixteenth = (outs / 16 + kStep - 1) / kStep * kStep;
    return std::clamp(kShareNumbers / in / kStep * kStep, kStep, std::max(kStep, sixteenth));
  }
  [[nodiscard]] std::int64_t shares() const { return (outs + share() - 1) / share(); }

  // Outputs of one share: x [rows, in] -> out[r * stride + n] for each of its outputs n. Out: float or T.
  template <typename Out>
  void multiply(const T* x, std::int64_t rows, std::int64_t number, Out* out, std::int64_t stride) const;
};

}  // namespace desta::models
