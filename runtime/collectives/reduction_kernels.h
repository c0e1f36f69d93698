// The loops of reduction.h, compiled once for each set of vector instructions
// (reduction_avx512.cpp, reduction_avx2.cpp, reduction_plain.cpp). Every name is local to the file
// that includes this one, and no inline function of a library is used: the linker could take a copy
// with instructions that another processor lacks.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "runtime/collectives/reduction.h"

namespace desta::runtime {
namespace {

// Elements that are reduced at a time: their accumulators stay in the first-level cache.
constexpr std::size_t kBlock = 2048;

struct BFloat16 {
  std::uint16_t bits;
};

struct Float16 {
  std::uint16_t bits;
};

// Sums of halves are in float32, all others in the type itself.
template <typename T>
struct WideOf {
  using Type = T;
};
template <>
struct WideOf<BFloat16> {
  using Type = float;
};
template <>
struct WideOf<Float16> {
  using Type = float;
};

float as_float(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }
std::uint32_t as_bits(float value) { return __builtin_bit_cast(std::uint32_t, value); }

template <typename T>
inline T widen(T value) {
  return value;
}

inline float widen(BFloat16 value) {
  return as_float(static_cast<std::uint32_t>(value.bits) << 16);
}

inline float widen(Float16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
  const std::uint32_t magnitude = value.bits & 0x7fffU;
  // The bits moved into a float32 lack 112 of exponent bias; a product by 2^112 adds it and
  // normalises the subnormals on the way.
  const std::uint32_t finite = as_bits(as_float(magnitude << 13) * 0x1.0p112F);
  const std::uint32_t special = 0x7f800000U | ((magnitude & 0x3ffU) << 13);  // infinity or NaN
  return as_float(sign | (magnitude >= 0x7c00U ? special : finite));
}

template <typename Stored, typename Wide>
struct Narrow {
  static Stored of(Wide value) { return value; }
};

// To nearest even; NaN stays NaN.
template <>
struct Narrow<BFloat16, float> {
  static BFloat16 of(float value) {
    const std::uint32_t bits = as_bits(value);
    const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
    const std::uint32_t nan = (bits >> 16) | 0x40U;
    return {static_cast<std::uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? nan : rounded)};
  }
};

template <>
struct Narrow<Float16, float> {
  static Float16 of(float value) {
    const std::uint32_t bits = as_bits(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000U;
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    const std::uint32_t rebased = magnitude - (112U << 23);
    const std::uint32_t normal = (rebased + 0xfffU + ((rebased >> 13) & 1U)) >> 13;
    // Below 2^-14 the float adder rounds at the subnormals' place.
    const std::uint32_t subnormal = as_bits(as_float(magnitude) + 0.5F) - as_bits(0.5F);
    std::uint32_t result = magnitude < 0x38800000U ? subnormal : normal;
    result = magnitude >= 0x477ff000U ? 0x7c00U : result;  // rounds to 2^16 or more
    result = magnitude > 0x7f800000U ? 0x7e00U : result;   // NaN
    return {static_cast<std::uint16_t>(sign | result)};
  }
};

// Element `index` of a vector. Callers' buffers may lie anywhere: a T* would promise alignment.
template <typename T>
inline T element(const void* vector, std::size_t index) {
  T value;
  __builtin_memcpy(&value, static_cast<const char*>(vector) + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
inline void set_element(void* vector, std::size_t index, T value) {
  __builtin_memcpy(static_cast<char*>(vector) + index * sizeof(T), &value, sizeof(T));
}

struct Sum {
  template <typename T>
  static T of(T first, T second) {
    return first + second;
  }
  // Integers wrap around.
  static std::int32_t of(std::int32_t first, std::int32_t second) {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(first) +
                                     static_cast<std::uint32_t>(second));
  }
  static std::int64_t of(std::int64_t first, std::int64_t second) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(first) +
                                     static_cast<std::uint64_t>(second));
  }
  static std::uint8_t of(std::uint8_t first, std::uint8_t second) {
    return static_cast<std::uint8_t>(first + second);
  }
};

// NaN wins in both.
struct Max {
  template <typename T>
  static T of(T first, T second) {
    return (first > second) | (first != first) ? first : second;
  }
};

struct Min {
  template <typename T>
  static T of(T first, T second) {
    return (first < second) | (first != first) ? first : second;
  }
};

// Writes `bytes` past the caches, in full lines.
inline void stream(void* to, const void* from, std::size_t bytes) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
#if defined(__SSE2__)
  const std::size_t head = (64 - reinterpret_cast<std::uintptr_t>(out) % 64) % 64;
  if (bytes > head + 64) {
    __builtin_memcpy(out, in, head);
    std::size_t at = head;
    for (; at + 64 <= bytes; at += 64) {
#if defined(__AVX512F__)
      _mm512_stream_si512(reinterpret_cast<__m512i*>(out + at), _mm512_loadu_si512(in + at));
#elif defined(__AVX2__)
      for (std::size_t part = 0; part < 64; part += 32) {
        _mm256_stream_si256(reinterpret_cast<__m256i*>(out + at + part),
                            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + at + part)));
      }
#else
      for (std::size_t part = 0; part < 64; part += 16) {
        _mm_stream_si128(reinterpret_cast<__m128i*>(out + at + part),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + at + part)));
      }
#endif
    }
    __builtin_memcpy(out + at, in + at, bytes - at);
    return;
  }
#endif
  __builtin_memcpy(out, in, bytes);
}

inline void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <typename Stored, typename Op>
void reduce_as(const ReduceTask& task) {
  using Wide = typename WideOf<Stored>::Type;
  alignas(64) Wide sum[kBlock];
  alignas(64) Stored rounded[kBlock];
  const auto divisor = static_cast<Wide>(task.divisor);
  for (std::size_t begin = 0; begin < task.count; begin += kBlock) {
    const std::size_t length = task.count - begin < kBlock ? task.count - begin : kBlock;
    const void* first = task.contributions[0];
    if (task.contribution_count == 1) {
      for (std::size_t i = 0; i < length; ++i) {
        sum[i] = widen(element<Stored>(first, begin + i));
      }
    } else {
      const void* second = task.contributions[1];
      for (std::size_t i = 0; i < length; ++i) {
        sum[i] = Op::of(widen(element<Stored>(first, begin + i)),
                        widen(element<Stored>(second, begin + i)));
      }
    }
    for (std::size_t rank = 2; rank < task.contribution_count; ++rank) {
      const void* other = task.contributions[rank];
      for (std::size_t i = 0; i < length; ++i) {
        sum[i] = Op::of(sum[i], widen(element<Stored>(other, begin + i)));
      }
    }
    if (task.divisor > 1) {
      for (std::size_t i = 0; i < length; ++i) {
        sum[i] = static_cast<Wide>(sum[i] / divisor);
      }
    }
    const void* block = sum;
    if constexpr (sizeof(Wide) != sizeof(Stored)) {
      for (std::size_t i = 0; i < length; ++i) {
        rounded[i] = Narrow<Stored, Wide>::of(sum[i]);
      }
      block = rounded;
    }
    for (std::size_t result = 0; result < task.result_count; ++result) {
      char* out = static_cast<char*>(task.results[result]) + begin * sizeof(Stored);
      if (task.streaming) {
        stream(out, block, length * sizeof(Stored));
      } else {
        __builtin_memcpy(out, block, length * sizeof(Stored));
      }
    }
  }
  if (task.streaming) {
    finish_streams();
  }
}

template <typename Stored>
void reduce_with(const ReduceTask& task) {
  switch (task.op) {
    case ReduceOp::kSum:
    case ReduceOp::kAverage:
      return reduce_as<Stored, Sum>(task);
    case ReduceOp::kMax:
      return reduce_as<Stored, Max>(task);
    case ReduceOp::kMin:
      return reduce_as<Stored, Min>(task);
  }
}

void reduce_task(const ReduceTask& task) {
  switch (task.dtype) {
    case DType::kFloat32:
      return reduce_with<float>(task);
    case DType::kFloat16:
      return reduce_with<Float16>(task);
    case DType::kBFloat16:
      return reduce_with<BFloat16>(task);
    case DType::kFloat64:
      return reduce_with<double>(task);
    case DType::kInt32:
      return reduce_with<std::int32_t>(task);
    case DType::kInt64:
      return reduce_with<std::int64_t>(task);
    case DType::kUInt8:
      return reduce_with<std::uint8_t>(task);
  }
}

template <typename Stored>
void widen_all(const void* from, float* to, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    to[i] = widen(element<Stored>(from, i));
  }
}

template <typename Stored>
void narrow_all(const float* from, void* to, std::size_t count, int divisor) {
  const auto by = static_cast<float>(divisor);
  for (std::size_t i = 0; i < count; ++i) {
    set_element(to, i, Narrow<Stored, float>::of(from[i] / by));
  }
}

void widen_halves(const void* from, float* to, std::size_t count, DType dtype) {
  if (dtype == DType::kFloat16) {
    widen_all<Float16>(from, to, count);
  } else {
    widen_all<BFloat16>(from, to, count);
  }
}

void narrow_to_halves(const float* from, void* to, std::size_t count, DType dtype, int divisor) {
  if (dtype == DType::kFloat16) {
    narrow_all<Float16>(from, to, count, divisor);
  } else {
    narrow_all<BFloat16>(from, to, count, divisor);
  }
}

void stream_copy(void* to, const void* from, std::size_t bytes) {
  stream(to, from, bytes);
  finish_streams();
}

constexpr ReductionKernels kKernels{reduce_task, widen_halves, narrow_to_halves, stream_copy};

}  // namespace
}  // namespace desta::runtime
