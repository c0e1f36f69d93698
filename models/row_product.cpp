#include "models/row_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "models/row_kernels.h"
#include "models/row_weight.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;

// Multiplications that are worth a thread.
constexpr std::int64_t kThreadWork = 1 << 18;

// Rows of x that each four outputs meet: a quarter of the second-level cache of a server's core, in float32, and what
// the sums of four outputs have room for.
constexpr std::int64_t kBlockNumbers = 1 << 17;
constexpr std::int64_t kSmallestBlock = 24;
constexpr std::int64_t kLargestBlock = 252;

template <typename T>
[[gnu::always_inline]] inline float dot(const T* a, const T* b, std::int64_t count) {
  float sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    sum += static_cast<float>(a[i]) * static_cast<float>(b[i]);
  }
  return sum;
}

DESTA_FOR_EACH_MACHINE float dot_of(const float* a, const float* b, std::int64_t count) {
  return dot(a, b, count);
}
DESTA_FOR_EACH_MACHINE float dot_of(const at::BFloat16* a, const at::BFloat16* b, std::int64_t count) {
  return dot(a, b, count);
}

// Panels of kAmxPanel outputs, several threads: sums(first, into) computes those from `first` on, [kAmxPanel, stride].
// The last panel begins early, so that it is whole, and computes a few again.
template <typename Out, typename Sums>
void by_tiles(Out* out, std::int64_t rows, std::int64_t in, std::int64_t outs, std::int64_t stride, const Sums& sums) {
  constexpr auto kWidth = kAmxPanel;
  const auto grain = std::max<std::int64_t>(1, kThreadWork / (stride * in * kWidth));
  at::parallel_for(0, (outs + kWidth - 1) / kWidth, grain, [&](std::int64_t begin, std::int64_t end) {
    const AmxTiles tiles;
    std::vector<float> panel(static_cast<std::size_t>(kWidth * stride));
    for (auto i = begin; i < end; ++i) {
      const auto first = std::min(i * kWidth, outs - kWidth);
      sums(first, panel.data());
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* from = panel.data() + r;
        for (auto n = i * kWidth - first; n < kWidth; ++n) {
          out[r * outs + first + n] = from[n * stride];
        }
      }
    }
  });
}

// Rows for amx_sums().
std::vector<at::BFloat16> pack_rows(const at::BFloat16* x, std::int64_t rows, std::int64_t in,
                                    std::int64_t groups) {
  std::vector<at::BFloat16> packed(static_cast<std::size_t>(groups * in * kRowGroup), at::BFloat16(0.0F));
  for (std::int64_t r = 0; r < rows; ++r, x += in) {
    at::BFloat16* to = packed.data() + r / kRowGroup * in * kRowGroup + r % kRowGroup * 2;
    for (std::int64_t k = 0; k < in; k += 2) {
      to[k * kRowGroup] = x[k];
      to[k * kRowGroup + 1] = x[k + 1];
    }
  }
  return packed;
}

template <typename T, typename Out>
void amx_multiply(const T* x, const T* weight, Out* out, std::int64_t rows, std::int64_t in, std::int64_t outs) {
  if constexpr (std::is_same_v<T, at::BFloat16>) {
    const auto groups = (rows + kRowGroup - 1) / kRowGroup;
    const auto packed = pack_rows(x, rows, in, groups);
    by_tiles(out, rows, in, outs, groups * kRowGroup, [&](std::int64_t first, float* sums) {
      amx_sums(packed.data(), groups, weight + first * in, in, sums);
    });
  }
}

template <typename T, typename Out>
void multiply(const T* x, const Tensor& weight, Out* out, std::int64_t rows, RowKernel kernel) {
  const auto in = weight.size(1);
  const auto outs = weight.size(0);
  if (kernel == RowKernel::kAmx) {
    amx_multiply(x, weight.data_ptr<T>(), out, rows, in, outs);
    return;
  }
  const auto shared = RowWeight<T>::of(weight, kernel);
  const auto grain = std::max<std::int64_t>(1, kThreadWork / (rows * in * shared.share()));
  at::parallel_for(0, shared.shares(), grain, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) {
      shared.multiply(x, rows, i, out, outs);
    }
  });
}

void panel_of(RowKernel kernel, const float* x, std::int64_t rows, const float* weight, std::int64_t in, float* sums) {
  static_cast<void>(kernel);
  avx512_dots(x, rows, weight, in, sums);
}

void panel_of(RowKernel kernel, const at::BFloat16* x, std::int64_t rows, const at::BFloat16* weight, std::int64_t in,
              float* sums) {
  kernel == RowKernel::kAvx512Bf16 ? avx512_bf16_dots(x, rows, weight, in, sums)
                                   : avx512_dots(x, rows, weight, in, sums);
}

// Sums of a panel, [rows, kAvx512Panel], go to their places from output `from` of the panel on.
template <typename Out>
void place_panel(const float* sums, std::int64_t rows, std::int64_t from, Out* out, std::int64_t stride) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (auto n = from; n < kAvx512Panel; ++n) {
      out[r * stride + n] = sums[r * kAvx512Panel + n];
    }
  }
}

bool has_kernels(const Tensor& weight) {
  return weight.device().is_cpu() && weight.is_contiguous() &&
         (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16);
}

}  // namespace

template <typename T>
template <typename Out>
void RowWeight<T>::multiply(const T* x, std::int64_t rows, std::int64_t number, Out* out, std::int64_t stride) const {
  const auto begin = number * share();
  const auto end = std::min(begin + share(), outs);
  if (kernel == RowKernel::kPlain) {
    for (auto n = begin; n < end; ++n) {
      for (std::int64_t r = 0; r < rows; ++r) {
        out[r * stride + n] = dot_of(x + r * in, data + n * in, in);
      }
    }
    return;
  }
  const auto block = std::clamp(kBlockNumbers / in, kSmallestBlock, kLargestBlock);
  float sums[kLargestBlock * kAvx512Panel];
  for (std::int64_t first = 0; first < rows; first += block) {
    const auto count = std::min(block, rows - first);
    for (auto n = begin; n < end; n += kAvx512Panel) {
      // The last panel begins early, so that it is whole, and computes a few again.
      const auto panel = std::min(n, outs - kAvx512Panel);
      panel_of(kernel, x + first * in, count, data + panel * in, in, sums);
      place_panel(sums, count, n - panel, out + first * stride + panel, stride);
    }
  }
}

template void RowWeight<float>::multiply(const float*, std::int64_t, std::int64_t, float*, std::int64_t) const;
template void RowWeight<at::BFloat16>::multiply(const at::BFloat16*, std::int64_t, std::int64_t, float*,
                                                std::int64_t) const;
template void RowWeight<at::BFloat16>::multiply(const at::BFloat16*, std::int64_t, std::int64_t, at::BFloat16*,
                                                std::int64_t) const;

std::vector<RowKernel> row_kernels(const Tensor& weight) {
  std::vector<RowKernel> kernels;
  if (!has_kernels(weight)) {
    return kernels;
  }
  const bool narrow = weight.scalar_type() == at::kBFloat16;
  const auto outs = weight.size(0);
  const auto in = weight.size(1);
  kernels.push_back(RowKernel::kPlain);
  const bool whole = !narrow || in % 32 == 0;
  if (has_avx512() && outs >= kAvx512Panel && whole) {
    kernels.push_back(RowKernel::kAvx512);
  }
  if (has_avx512_bf16() && outs >= kAvx512Panel && narrow && whole) {
    kernels.push_back(RowKernel::kAvx512Bf16);
  }
  if (has_amx() && outs >= kAmxPanel && narrow && whole) {
    kernels.push_back(RowKernel::kAmx);
  }
  return kernels;
}

std::string_view name_of(RowKernel kernel) {
  switch (kernel) {
    case RowKernel::kPlain:
      return "plain";
    case RowKernel::kAvx512:
      return "AVX-512";
    case RowKernel::kAvx512Bf16:
      return "AVX-512 BF16";
    case RowKernel::kAmx:
      return "AMX";
  }
  return "";
}

Tensor row_product(const Tensor& x, const Tensor& weight, bool wide) {
  const auto kernels = row_kernels(weight);
  if (kernels.empty() || x.scalar_type() != weight.scalar_type()) {
    const Tensor product = at::linear(x, weight);
    return wide ? product.to(at::kFloat) : product;
  }
  return row_product(x, weight, wide, kernels.back());
}

Tensor row_product(const Tensor& x, const Tensor& weight, bool wide, RowKernel kernel) {
  const Tensor rows = x.reshape({-1, x.size(-1)}).contiguous();
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  const bool narrow = weight.scalar_type() == at::kBFloat16;
  Tensor out = at::empty(shape, x.options().dtype(wide || !narrow ? at::kFloat : at::kBFloat16));
  const auto multiply_into = [&]<typename T, typename Out>(const T* from, Out* to) {
    multiply<T, Out>(from, weight, to, rows.size(0), kernel);
  };
  if (rows.size(0) == 0) {
    return out;
  }
  if (!narrow) {
    multiply_into(rows.data_ptr<float>(), out.data_ptr<float>());
  } else if (wide) {
    multiply_into(rows.data_ptr<at::BFloat16>(), out.data_ptr<float>());
  } else {
    multiply_into(rows.data_ptr<at::BFloat16>(), out.data_ptr<at::BFloat16>());
  }
  return out;
}

}  // namespace desta::models
