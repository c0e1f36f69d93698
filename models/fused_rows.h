// One row of the fused operations, as loops that a compiler turns into vector instructions: fused.cpp runs them over
// tensors, llama_rows.cpp over rows in memory. Private to this folder.
#pragma once

#include <cmath>
#include <cstdint>

#include "models/vector_math.h"

namespace desta::models {

// out = round(x scale) weight with scale = 1 / sqrt(mean(x^2) + eps), which is returned: x, weight, out [size].
template <typename T>
[[gnu::always_inline]] inline float rms_norm_row(const T* x, const T* weight, T* out, std::int64_t size, float eps) {
  float sum = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    const float value = x[i];
    sum += value * value;
  }
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(size) + eps);
  for (std::int64_t i = 0; i < size; ++i) {
    const T rounded = static_cast<float>(x[i]) * scale;
    out[i] = static_cast<float>(rounded) * static_cast<float>(weight[i]);
  }
  return scale;
}

// out = gate / (1 + e^-gate) up.
template <typename T>
[[gnu::always_inline]] inline void swiglu_row(const T* gate, const T* up, T* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = gate[i];
    out[i] = g / (1.0F + exp_of(-g)) * static_cast<float>(up[i]);
  }
}

// to = from cos + turn(from) sin with turn(a, b) = (-b, a), of a head of 2 half numbers; direction -1 is the transposed
// rotation. `to` may be `from`.
template <typename T>
[[gnu::always_inline]] inline void rotate_row(const T* from, const T* cos, const T* sin, T* to, std::int64_t half,
                                              float direction) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float low = from[i];
    const float high = from[i + half];
    const float turn = direction * static_cast<float>(sin[i]);
    to[i] = low * static_cast<float>(cos[i]) - high * turn;
    to[i + half] = high * static_cast<float>(cos[i]) + low * turn;
  }
}

}  // namespace desta::models
