#include "models/blocked_attention.h"

#include <algorithm>
#include <cmath>
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

// A row of scores becomes weights. `scratch`: [keys].
template <typename T>
[[gnu::always_inline]] inline void softmax_row(T* row, float* scratch, std::int64_t keys) {
  for (std::int64_t i = 0; i < keys; ++i) {
    scratch[i] = static_cast<float>(row[i]);
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
    row[i] = scratch[i] * share;
  }
}

DESTA_FOR_EACH_MACHINE void softmax_rows(float* rows, float* scratch, std::int64_t count,
                                         std::int64_t keys) {
  for (std::int64_t r = 0; r < count; ++r) {
    softmax_row(rows + r * keys, scratch, keys);
  }
}
DESTA_FOR_EACH_MACHINE void softmax_rows(at::BFloat16* rows, float* scratch, std::int64_t count,
                                         std::int64_t keys) {
  for (std::int64_t r = 0; r < count; ++r) {
    softmax_row(rows + r * keys, scratch, keys);
  }
}

void softmax_in_place(Tensor& scores, std::vector<float>& scratch) {
  if (scores.scalar_type() == at::kFloat) {
    softmax_rows(scores.data_ptr<float>(), scratch.data(), scores.size(0), scores.size(1));
  } else {
    softmax_rows(scores.data_ptr<at::BFloat16>(), scratch.data(), scores.size(0), scores.size(1));
  }
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
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  for (std::int64_t b = 0; b < q.size(0); ++b) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const Tensor asked = (q[b][h] * scale).contiguous();
      const Tensor keyed = k[b][h].contiguous().t();
      const Tensor values = v[b][h].contiguous();
      for (std::int64_t begin = 0; begin < queries; begin += rows) {
        const auto count = std::min(rows, queries - begin);
        Tensor block = scores.narrow(0, 0, count);
        Tensor part = mixed.narrow(0, 0, count);
        at::mm_out(block, asked.narrow(0, begin, count), keyed);
        softmax_in_place(block, scratch);
        at::mm_out(part, block, values);
        out[b].narrow(0, begin, count).select(1, h).copy_(part);
      }
    }
  }
  return out.view({q.size(0), queries, heads * head_dim});
}

}  // namespace desta::models
