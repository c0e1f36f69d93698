#include "models/row_product.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "models/row_kernels.h"
#include "runtime/core/instruction_sets.h"

namespace desta::models {
namespace {

using at::Tensor;

// Multiplications that are worth a thread.
constexpr std::int64_t kThreadWork = 1 << 18;

// Rows of x that each four outputs meet: half of the second-level cache of a server's core, in float32.
constexpr std::int64_t kBlockNumbers = 1 << 18;
constexpr std::int64_t kSmallestBlock = 24;

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

// Panels of `width` outputs, several threads: sums(first, into) computes those from `first` on, [width, stride]. The
// last panel begins early, so that it is whole, and computes a few again.
template <typename Tiles, typename Out, typename Sums>
void by_panels(Out* out, std::int64_t rows, std::int64_t in, std::int64_t outs, std::int64_t width,
               std::int64_t stride, const Sums& sums) {
  const auto grain = std::max<std::int64_t>(1, kThreadWork / (stride * in * width));
  at::parallel_for(0, (outs + width - 1) / width, grain, [&](std::int64_t begin, std::int64_t end) {
    [[maybe_unused]] const Tiles tiles;
    std::vector<float> panel(static_cast<std::size_t>(width * stride));
    for (auto i = begin; i < end; ++i) {
      const auto first = std::min(i * width, outs - width);
      sums(first, panel.data());
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* from = panel.data() + r;
        for (auto n = i * width - first; n < width; ++n) {
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
void multiply(const T* x, const T* weight, Out* out, std::int64_t rows, std::int64_t in, std::int64_t outs,
              RowKernel kernel) {
  struct NoTiles {};
  if (kernel == RowKernel::kPlain) {
    by_panels<NoTiles>(out, rows, in, outs, 1, rows, [&](std::int64_t first, float* sums) {
      for (std::int64_t r = 0; r < rows; ++r) {
        sums[r] = dot_of(x + r * in, weight + first * in, in);
      }
    });
  } else if (kernel == RowKernel::kAvx512) {
    const auto block = std::max(kSmallestBlock, kBlockNumbers / in);
    for (std::int64_t begin = 0; begin < rows; begin += block) {
      const auto count = std::min(block, rows - begin);
      by_panels<NoTiles>(out + begin * outs, count, in, outs, kAvx512Panel, count,
                         [&](std::int64_t first, float* sums) {
                           avx512_dots(x + begin * in, count, weight + first * in, in, sums);
                         });
    }
  } else if constexpr (std::is_same_v<T, at::BFloat16>) {
    const auto groups = (rows + kRowGroup - 1) / kRowGroup;
    const auto packed = pack_rows(x, rows, in, groups);
    by_panels<AmxTiles>(out, rows, in, outs, kAmxPanel, groups * kRowGroup, [&](std::int64_t first, float* sums) {
      amx_sums(packed.data(), groups, weight + first * in, in, sums);
    });
  }
}

bool has_kernels(const Tensor& weight) {
  return weight.device().is_cpu() && weight.is_contiguous() &&
         (weight.scalar_type() == at::kFloat || weight.scalar_type() == at::kBFloat16);
}

}  // namespace

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
    multiply(from, weight.data_ptr<T>(), to, rows.size(0), rows.size(1), weight.size(0), kernel);
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
