#include "models/blocked_attention.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

#include "models/vector_math.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;

// What the scores of a block may take: three quarters of the second-level cache of a server's core (2 MiB since
// Sapphire Rapids). For 1,500 keys, 250 rows of float32 and 500 of bfloat16 were the fastest of 125, 250,
// 500, 750 and 1500.
constexpr std::int64_t kBlockBytes = 3 << 19;

// e^-70 is 4e-31.
constexpr float kNothing = -70.0F;

// Numbers between their type and float32, without at::BFloat16's look at NaN: a NaN stays one here.
template <typename T>
[[gnu::always_inline]] inline float widened(T x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    return std::bit_cast<float>(std::uint32_t{x.x} << 16);
  }
}
template <typename T>
[[gnu::always_inline]] inline T narrowed(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t to_even = 0x7FFF + ((bits >> 16) & 1);
    return T(static_cast<std::uint16_t>((bits + to_even) >> 16), T::from_bits());
  }
}

// A row of scores, times `scale`, becomes weights. `scratch`: [keys].
template <typename T>
[[gnu::always_inline]] inline void softmax_row(T* row, float* scratch, std::int64_t keys, float scale) {
  for (std::int64_t i = 0; i < keys; ++i) {
    scratch[i] = widened(row[i]) * scale;
  }
  const float largest = largest_of(scratch, keys);
  float sum = 0;
  for (std::int64_t i = 0; i < keys; ++i) {
    // Less than float32 can tell from nothing beside 1; what is left of it would be subnormal, which products
    // are slow with.
    const float below = scratch[i] - largest;
    const float counts = below < kNothing ? 0.0F : 1.0F;
    scratch[i] = counts * exp_of(below);
    sum += scratch[i];
  }
  const float share = 1.0F / sum;
  for (std::int64_t i = 0; i < keys; ++i) {
    row[i] = narrowed<T>(scratch[i] * share);
  }
}

DESTA_FOR_EACH_MACHINE void softmax_rows(float* rows, float* scratch, std::int64_t count,
                                         std::int64_t keys, float scale) {
  for (std::int64_t r = 0; r < count; ++r) {
    softmax_row(rows + r * keys, scratch, keys, scale);
  }
}
DESTA_FOR_EACH_MACHINE void softmax_rows(at::BFloat16* rows, float* scratch, std::int64_t count,
                                         std::int64_t keys, float scale) {
  for (std::int64_t r = 0; r < count; ++r) {
    softmax_row(rows + r * keys, scratch, keys, scale);
  }
}

void softmax_in_place(Tensor& scores, std::vector<float>& scratch, float scale) {
  const auto count = scores.size(0);
  const auto keys = scores.size(1);
  if (scores.scalar_type() == at::kFloat) {
    softmax_rows(scores.data_ptr<float>(), scratch.data(), count, keys, scale);
  } else {
    softmax_rows(scores.data_ptr<at::BFloat16>(), scratch.data(), count, keys, scale);
  }
}

// Rows of `width` bytes, so far apart in each.
void copy_rows(const void* from, std::int64_t from_apart, void* to, std::int64_t to_apart,
               std::int64_t count, std::int64_t width) {
  const auto* source = static_cast<const std::byte*>(from);
  auto* target = static_cast<std::byte*>(to);
  for (std::int64_t r = 0; r < count; ++r) {
    std::memcpy(target + r * to_apart, source + r * from_apart, static_cast<std::size_t>(width));
  }
}

// [batch, heads, time, head_dim] with numbers of one row side by side.
Tensor with_whole_rows(const Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); }

// One head, [time, head_dim], into `to`.
void take_head(const Tensor& x, std::int64_t b, std::int64_t h, Tensor& to) {
  const auto size = static_cast<std::int64_t>(x.element_size());
  const auto* from = static_cast<const std::byte*>(x.data_ptr()) + (b * x.stride(0) + h * x.stride(1)) * size;
  copy_rows(from, x.stride(2) * size, to.data_ptr(), x.size(3) * size, x.size(2), x.size(3) * size);
}

}  // namespace

bool can_block(const Tensor& q, const Tensor& k, const Tensor& v) {
  const bool learns = at::GradMode::is_enabled() &&
                      (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return !learns && q.device().is_cpu() &&
         (q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16) &&
         k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type() &&
         q.size(1) == k.size(1) && q.numel() > 0 && k.numel() > 0;
}

Tensor blocked_attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  const at::NoGradGuard no_grad;
  const auto heads = q.size(1);
  const auto queries = q.size(2);
  const auto head_dim = q.size(3);
  const auto keys = k.size(2);
  const auto row_bytes = keys * static_cast<std::int64_t>(q.element_size());
  const auto rows = std::clamp<std::int64_t>(kBlockBytes / row_bytes, 1, queries);
  Tensor out = at::empty({q.size(0), queries, heads, head_dim}, q.options().memory_format(c10::nullopt));
  Tensor scores = at::empty({rows, keys}, out.options());
  Tensor mixed = at::empty({rows, head_dim}, out.options());
  std::vector<float> scratch(static_cast<std::size_t>(keys));
  const auto size = static_cast<std::int64_t>(q.element_size());
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const Tensor all_asked = with_whole_rows(q);
  const Tensor all_keyed = with_whole_rows(k);
  const Tensor all_values = with_whole_rows(v);
  Tensor asked = at::empty({queries, head_dim}, out.options());
  Tensor keyed = at::empty({keys, head_dim}, out.options());
  Tensor values = at::empty({keys, head_dim}, out.options());
  for (std::int64_t b = 0; b < q.size(0); ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      take_head(all_asked, b, h, asked);
      take_head(all_keyed, b, h, keyed);
      take_head(all_values, b, h, values);
      for (std::int64_t begin = 0; begin < queries; begin += rows) {
        const auto count = std::min(rows, queries - begin);
        Tensor block = scores.narrow(0, 0, count);
        Tensor part = mixed.narrow(0, 0, count);
        at::mm_out(block, asked.narrow(0, begin, count), keyed.t());
        softmax_in_place(block, scratch, scale);
        at::mm_out(part, block, values);
        auto* to = static_cast<std::byte*>(out.data_ptr()) +
                   ((b * queries + begin) * heads + h) * head_dim * size;
        copy_rows(part.data_ptr(), head_dim * size, to, heads * head_dim * size, count, head_dim * size);
      }
    }
  }
  return out.view({q.size(0), queries, heads * head_dim});
}

}  // namespace desta::models
