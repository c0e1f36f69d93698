#include "models/page_kernels.h"

#include <algorithm>

#include "models/row_kernels.h"
#include "runtime/core/instruction_sets.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define DESTA_HAS_X86 1
#define DESTA_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#include <immintrin.h>
#endif

namespace desta::models {
namespace {

constexpr std::int64_t kLanes = kPagePositions;

template <typename T>
[[gnu::always_inline]] inline void plain_scores(const float* q, const HeadPages<T>& keys, float* scores) {
  for (std::int64_t p = 0; p < pages_for(keys.count); ++p, scores += kLanes) {
    std::fill(scores, scores + kLanes, 0.0F);
    const T* key = keys[p];
    for (std::int64_t d = 0; d < keys.head_dim; ++d, key += kLanes) {
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        scores[lane] += q[d] * static_cast<float>(key[lane]);
      }
    }
  }
}

template <typename T>
[[gnu::always_inline]] inline void plain_mix(const float* weights, const HeadPages<T>& values, float* out) {
  std::fill(out, out + values.head_dim, 0.0F);
  for (std::int64_t p = 0; p < values.count; ++p) {
    const T* value = values[p / kLanes] + p % kLanes * values.head_dim;
    for (std::int64_t d = 0; d < values.head_dim; ++d) {
      out[d] += weights[p] * static_cast<float>(value[d]);
    }
  }
}

#ifdef DESTA_HAS_X86

DESTA_AVX512 inline __m512 load(__mmask16 which, const float* from) { return _mm512_maskz_loadu_ps(which, from); }
DESTA_AVX512 inline __m512 load(__mmask16 which, const at::BFloat16* from) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(which, from)), 16));
}

// Of several pages at once: each score is a chain of additions, so one alone would wait for itself.
template <int kPages, typename T>
DESTA_AVX512 inline void score_some(const float* q, const HeadPages<T>& keys, std::int64_t p, float* scores) {
  const T* key[kPages];
  __m512 sum[kPages];
#pragma GCC unroll 8
  for (int i = 0; i < kPages; ++i) {
    key[i] = keys[p + i];
    sum[i] = _mm512_setzero_ps();
  }
  for (std::int64_t d = 0; d < keys.head_dim; ++d) {
    const __m512 number = _mm512_set1_ps(q[d]);
#pragma GCC unroll 8
    for (int i = 0; i < kPages; ++i) {
      sum[i] = _mm512_fmadd_ps(number, load(0xFFFF, key[i] + d * kLanes), sum[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kPages; ++i) {
    _mm512_storeu_ps(scores + (p + i) * kLanes, sum[i]);
  }
}

template <typename T>
DESTA_AVX512 inline void wide_scores(const float* q, const HeadPages<T>& keys, float* scores) {
  const auto pages = pages_for(keys.count);
  std::int64_t p = 0;
  for (; p + 8 <= pages; p += 8) {
    score_some<8>(q, keys, p, scores);
  }
  for (; p + 2 <= pages; p += 2) {
    score_some<2>(q, keys, p, scores);
  }
  if (p < pages) {
    score_some<1>(q, keys, p, scores);
  }
}

// kVectors times 16 numbers of the value, the last of them where `last` says so.
template <int kVectors, typename T>
DESTA_AVX512 inline void mix_some(const float* weights, const HeadPages<T>& values, std::int64_t d, __mmask16 last,
                                  float* out) {
  __m512 sum[kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) {
    sum[i] = _mm512_setzero_ps();
  }
  for (std::int64_t begin = 0; begin < values.count; begin += kLanes) {
    const T* value = values[begin / kLanes] + d;
    const auto end = std::min(begin + kLanes, values.count);
    for (std::int64_t p = begin; p < end; ++p, value += values.head_dim) {
      const __m512 weight = _mm512_set1_ps(weights[p]);
#pragma GCC unroll 8
      for (int i = 0; i < kVectors; ++i) {
        const __mmask16 which = i + 1 < kVectors ? 0xFFFF : last;
        sum[i] = _mm512_fmadd_ps(weight, load(which, value + 16 * i), sum[i]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) {
    _mm512_mask_storeu_ps(out + d + 16 * i, i + 1 < kVectors ? 0xFFFF : last, sum[i]);
  }
}

template <typename T>
DESTA_AVX512 inline void wide_mix(const float* weights, const HeadPages<T>& values, float* out) {
  std::int64_t d = 0;
  for (; d + 128 <= values.head_dim; d += 128) {
    mix_some<8>(weights, values, d, 0xFFFF, out);
  }
  for (; d + 64 <= values.head_dim; d += 64) {
    mix_some<4>(weights, values, d, 0xFFFF, out);
  }
  for (; d < values.head_dim; d += 16) {
    const auto left = std::min<std::int64_t>(16, values.head_dim - d);
    mix_some<1>(weights, values, d, static_cast<__mmask16>((1U << left) - 1), out);
  }
}

DESTA_AVX512 void avx512_scores(const float* q, const HeadPages<float>& keys, float* scores) {
  wide_scores(q, keys, scores);
}
DESTA_AVX512 void avx512_scores(const float* q, const HeadPages<at::BFloat16>& keys, float* scores) {
  wide_scores(q, keys, scores);
}
DESTA_AVX512 void avx512_mix(const float* weights, const HeadPages<float>& values, float* out) {
  wide_mix(weights, values, out);
}
DESTA_AVX512 void avx512_mix(const float* weights, const HeadPages<at::BFloat16>& values, float* out) {
  wide_mix(weights, values, out);
}

#else

template <typename T>
void avx512_scores(const float* q, const HeadPages<T>& keys, float* scores) {
  plain_scores(q, keys, scores);
}
template <typename T>
void avx512_mix(const float* weights, const HeadPages<T>& values, float* out) {
  plain_mix(weights, values, out);
}

#endif

DESTA_FOR_EACH_MACHINE void any_scores(const float* q, const HeadPages<float>& keys, float* scores) {
  plain_scores(q, keys, scores);
}
DESTA_FOR_EACH_MACHINE void any_scores(const float* q, const HeadPages<at::BFloat16>& keys, float* scores) {
  plain_scores(q, keys, scores);
}
DESTA_FOR_EACH_MACHINE void any_mix(const float* weights, const HeadPages<float>& values, float* out) {
  plain_mix(weights, values, out);
}
DESTA_FOR_EACH_MACHINE void any_mix(const float* weights, const HeadPages<at::BFloat16>& values, float* out) {
  plain_mix(weights, values, out);
}

}  // namespace

void score_pages(const float* q, const HeadPages<float>& keys, float* scores) {
  has_avx512() ? avx512_scores(q, keys, scores) : any_scores(q, keys, scores);
}
void score_pages(const float* q, const HeadPages<at::BFloat16>& keys, float* scores) {
  has_avx512() ? avx512_scores(q, keys, scores) : any_scores(q, keys, scores);
}
void mix_pages(const float* weights, const HeadPages<float>& values, float* out) {
  has_avx512() ? avx512_mix(weights, values, out) : any_mix(weights, values, out);
}
void mix_pages(const float* weights, const HeadPages<at::BFloat16>& values, float* out) {
  has_avx512() ? avx512_mix(weights, values, out) : any_mix(weights, values, out);
}

}  // namespace desta::models
