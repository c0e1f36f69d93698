#include "models/row_kernels.h"

#include "runtime/core/error.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define DESTA_HAS_X86 1
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace desta::models {

#ifdef DESTA_HAS_X86

#define DESTA_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define DESTA_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define DESTA_AMX __attribute__((target("avx512f,amx-tile,amx-bf16")))

bool has_avx512() {
  static const bool found = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return found;
}

bool has_avx512_bf16() {
  static const bool found = has_avx512() && __builtin_cpu_supports("avx512bf16");
  return found;
}

namespace {

constexpr int kOuts = kAvx512Panel;

// Halves onto halves of two vectors: the first's eight sums, then the second's.
DESTA_AVX512 inline __m512 fold(__m512 a, __m512 b) {
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
}

// Of each of four vectors the sixteen partial sums, halves onto halves. The four go through it together: a sum of
// few inputs costs hardly more than its additions.
DESTA_AVX512 inline __m128 add_up(const __m512& a, const __m512& b, const __m512& c, const __m512& d) {
  const __m512 ab = fold(a, b);
  const __m512 cd = fold(c, d);
  const __m512 four = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
  const __m512 two = _mm512_add_ps(four, _mm512_permute_ps(four, 0x4E));
  const __m512 one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xB1));
  const __m512i places = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  return _mm512_castps512_ps128(_mm512_permutexvar_ps(places, one));
}

template <int kRows>
DESTA_AVX512 inline void store_sums(const __m512 (&sum)[kOuts][kRows], float* out) {
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    _mm_storeu_ps(out + r * kOuts, add_up(sum[0][r], sum[1][r], sum[2][r], sum[3][r]));
  }
}

template <int kRows>
DESTA_AVX512 inline void clear(__m512 (&sum)[kOuts][kRows]) {
#pragma GCC unroll 4
  for (int n = 0; n < kOuts; ++n) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      sum[n][r] = _mm512_setzero_ps();
    }
  }
}

// One row asks for the next four outputs' weights while it reads these: two and a half times the tokens of one
// request and thread on an AMD EPYC. In bfloat16, half the bytes, it gained nothing.
template <int kRows>
DESTA_AVX512 inline void dots(const float* x, const float* weight, std::int64_t in, float* out) {
  __m512 sum[kOuts][kRows];
  clear(sum);
  for (std::int64_t k = 0; k < in; k += 16) {
    const __mmask16 here = in - k >= 16 ? 0xFFFF : static_cast<__mmask16>((1U << (in - k)) - 1);
    __m512 numbers[kOuts];
#pragma GCC unroll 4
    for (int n = 0; n < kOuts; ++n) {
      numbers[n] = _mm512_maskz_loadu_ps(here, weight + n * in + k);
      if constexpr (kRows == 1) {
        _mm_prefetch(weight + (n + kOuts) * in + k, _MM_HINT_T0);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512 row = _mm512_maskz_loadu_ps(here, x + r * in + k);
#pragma GCC unroll 4
      for (int n = 0; n < kOuts; ++n) {
        sum[n][r] = _mm512_fmadd_ps(row, numbers[n], sum[n][r]);
      }
    }
  }
  store_sums(sum, out);
}

// float32 has a bfloat16 in its upper half: of a pair, the second is there already.
struct Pairs {
  __m512 first;
  __m512 second;
};

DESTA_AVX512 inline Pairs load_pairs(const at::BFloat16* from) {
  const __m512i both = _mm512_loadu_si512(from);
  return {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(static_cast<int>(0xFFFF0000U))))};
}

template <int kRows>
DESTA_AVX512 inline void dots(const at::BFloat16* x, const at::BFloat16* weight, std::int64_t in, float* out) {
  __m512 sum[kOuts][kRows];
  clear(sum);
  for (std::int64_t k = 0; k < in; k += 32) {
    Pairs numbers[kOuts];
#pragma GCC unroll 4
    for (int n = 0; n < kOuts; ++n) {
      numbers[n] = load_pairs(weight + n * in + k);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Pairs row = load_pairs(x + r * in + k);
#pragma GCC unroll 4
      for (int n = 0; n < kOuts; ++n) {
        sum[n][r] = _mm512_fmadd_ps(row.first, numbers[n].first, sum[n][r]);
        sum[n][r] = _mm512_fmadd_ps(row.second, numbers[n].second, sum[n][r]);
      }
    }
  }
  store_sums(sum, out);
}

template <int kRows>
DESTA_AVX512_BF16 inline void pair_dots(const at::BFloat16* x, const at::BFloat16* weight, std::int64_t in,
                                        float* out) {
  __m512 sum[kOuts][kRows];
  clear(sum);
  for (std::int64_t k = 0; k < in; k += 32) {
    __m512i numbers[kOuts];
#pragma GCC unroll 4
    for (int n = 0; n < kOuts; ++n) {
      numbers[n] = _mm512_loadu_si512(weight + n * in + k);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512i row = _mm512_loadu_si512(x + r * in + k);
#pragma GCC unroll 4
      for (int n = 0; n < kOuts; ++n) {
        sum[n][r] = _mm512_dpbf16_ps(sum[n][r], reinterpret_cast<__m512bh>(row),
                                     reinterpret_cast<__m512bh>(numbers[n]));
      }
    }
  }
  store_sums(sum, out);
}

}  // namespace

DESTA_AVX512 void avx512_dots(const float* x, std::int64_t rows, const float* weight, std::int64_t in,
                              float* out) {
  std::int64_t r = 0;
  for (; r + 6 <= rows; r += 6) {
    dots<6>(x + r * in, weight, in, out + r * kOuts);
  }
  for (; r + 2 <= rows; r += 2) {
    dots<2>(x + r * in, weight, in, out + r * kOuts);
  }
  if (r < rows) {
    dots<1>(x + r * in, weight, in, out + r * kOuts);
  }
}

DESTA_AVX512 void avx512_dots(const at::BFloat16* x, std::int64_t rows, const at::BFloat16* weight,
                              std::int64_t in, float* out) {
  std::int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    dots<4>(x + r * in, weight, in, out + r * kOuts);
  }
  for (; r < rows; ++r) {
    dots<1>(x + r * in, weight, in, out + r * kOuts);
  }
}

DESTA_AVX512_BF16 void avx512_bf16_dots(const at::BFloat16* x, std::int64_t rows, const at::BFloat16* weight,
                                        std::int64_t in, float* out) {
  std::int64_t r = 0;
  for (; r + 6 <= rows; r += 6) {
    pair_dots<6>(x + r * in, weight, in, out + r * kOuts);
  }
  for (; r + 2 <= rows; r += 2) {
    pair_dots<2>(x + r * in, weight, in, out + r * kOuts);
  }
  if (r < rows) {
    pair_dots<1>(x + r * in, weight, in, out + r * kOuts);
  }
}

bool has_amx() {
  // AMX-TILE and AMX-BF16 are bits 24 and 22 of CPUID 7's EDX; Linux lends a process its tiles when asked
  // (arch_prctl ARCH_REQ_XCOMP_PERM, component 18; Documentation/arch/x86/xstate.rst).
  static const bool found = [] {
    unsigned eax = 0;
    unsigned ebx = 0;
    unsigned ecx = 0;
    unsigned edx = 0;
    constexpr unsigned kNeeded = (1U << 24) | (1U << 22);
    constexpr long kRequestPermission = 0x1023;
    constexpr long kTileData = 18;
    return has_avx512() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 &&
           (edx & kNeeded) == kNeeded && ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return found;
}

// Tiles 0 to 3 are sums [16 outputs, 16 rows] float32, 4 and 5 weights [16 outputs, 32 inputs], 6 and 7 rows
// [16 pairs of inputs, 16 rows]: 16 lines of 64 bytes each.
namespace {

struct TileLayout {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t line_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t lines[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// Not on the stack: GCC 12 believes that _tile_loadconfig reads but eight bytes.
alignas(64) constinit TileLayout tile_layout;

DESTA_AMX void set_up_tiles() { _tile_loadconfig(&tile_layout); }

DESTA_AMX void give_tiles_back() { _tile_release(); }

}  // namespace

AmxTiles::AmxTiles() { set_up_tiles(); }
AmxTiles::~AmxTiles() { give_tiles_back(); }

DESTA_AMX void amx_sums(const at::BFloat16* x, std::int64_t groups, const at::BFloat16* weight, std::int64_t in,
                        float* out) {
  const auto line = in * 2;  // bytes from output to output
  const auto size = in * kRowGroup;
  const auto stride = groups * kRowGroup;
  std::int64_t g = 0;
  for (; g + 2 <= groups; g += 2) {
    const auto* rows = x + g * size;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::int64_t k = 0; k < in; k += 32) {
      _tile_loadd(4, weight + k, line);
      _tile_loadd(5, weight + 16 * in + k, line);
      _tile_loadd(6, rows + k * kRowGroup, 64);
      _tile_loadd(7, rows + size + k * kRowGroup, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* sums = out + g * kRowGroup;
    _tile_stored(0, sums, stride * 4);
    _tile_stored(1, sums + kRowGroup, stride * 4);
    _tile_stored(2, sums + 16 * stride, stride * 4);
    _tile_stored(3, sums + 16 * stride + kRowGroup, stride * 4);
  }
  if (g < groups) {
    const auto* rows = x + g * size;
    _tile_zero(0);
    _tile_zero(2);
    for (std::int64_t k = 0; k < in; k += 32) {
      _tile_loadd(4, weight + k, line);
      _tile_loadd(5, weight + 16 * in + k, line);
      _tile_loadd(6, rows + k * kRowGroup, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(2, 5, 6);
    }
    float* sums = out + g * kRowGroup;
    _tile_stored(0, sums, stride * 4);
    _tile_stored(2, sums + 16 * stride, stride * 4);
  }
}

#else

bool has_avx512() { return false; }
bool has_avx512_bf16() { return false; }
bool has_amx() { return false; }
AmxTiles::AmxTiles() = default;
AmxTiles::~AmxTiles() = default;
void avx512_dots(const float*, std::int64_t, const float*, std::int64_t, float*) {
  throw runtime::InternalError("no AVX-512 here");
}
void avx512_dots(const at::BFloat16*, std::int64_t, const at::BFloat16*, std::int64_t, float*) {
  throw runtime::InternalError("no AVX-512 here");
}
void avx512_bf16_dots(const at::BFloat16*, std::int64_t, const at::BFloat16*, std::int64_t, float*) {
  throw runtime::InternalError("no AVX-512 here");
}
void amx_sums(const at::BFloat16*, std::int64_t, const at::BFloat16*, std::int64_t, float*) {
  throw runtime::InternalError("no AMX here");
}

#endif

}  // namespace desta::models
