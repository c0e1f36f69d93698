#include "runtime/collectives/reduction.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

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

template <typename T>
T widen(T value) {
  return value;
}

float widen(BFloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

float widen(Float16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
  const std::uint32_t magnitude = value.bits & 0x7fffU;
  if (magnitude >= 0x7c00U) {  // infinity or NaN
    return std::bit_cast<float>(sign | 0x7f800000U | ((magnitude & 0x3ffU) << 13));
  }
  // The bits moved into a float32 lack 112 of exponent bias; a product by 2^112 adds it and
  // normalises the subnormals on the way.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1.0p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign);
}

template <typename Stored, typename Wide>
Stored narrow(Wide value) {
  return static_cast<Stored>(value);
}

template <>
BFloat16 narrow<BFloat16, float>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) {
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  }
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

template <>
Float16 narrow<Float16, float>(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) {
    return {static_cast<std::uint16_t>(sign | 0x7e00U)};
  }
  if (magnitude >= 0x477ff000U) {  // rounds to 2^16 or more
    return {static_cast<std::uint16_t>(sign | 0x7c00U)};
  }
  if (magnitude < 0x38800000U) {  // below 2^-14: let the float adder round at the subnormals' place
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return {static_cast<std::uint16_t>(
        sign | (std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0.5F)))};
  }
  const std::uint32_t rebased = magnitude - (112U << 23);
  return {static_cast<std::uint16_t>(sign | ((rebased + 0xfffU + ((rebased >> 13) & 1U)) >> 13))};
}

template <typename Stored>
void reduce_as(std::span<const void* const> contributions, void* result, std::size_t count,
               ReduceOp op) {
  using Wide = decltype(widen(Stored{}));
  std::array<Wide, kBlock> sum;
  for (std::size_t begin = 0; begin < count; begin += kBlock) {
    const std::size_t length = std::min(kBlock, count - begin);
    const auto* first = static_cast<const Stored*>(contributions[0]) + begin;
    for (std::size_t i = 0; i < length; ++i) {
      sum[i] = widen(first[i]);
    }
    for (const void* contribution : contributions.subspan(1)) {
      const auto* other = static_cast<const Stored*>(contribution) + begin;
      switch (op) {
        case ReduceOp::kSum:
        case ReduceOp::kAverage:
          for (std::size_t i = 0; i < length; ++i) {
            sum[i] = static_cast<Wide>(sum[i] + widen(other[i]));
          }
          break;
        case ReduceOp::kMax:
          for (std::size_t i = 0; i < length; ++i) {
            sum[i] = std::max<Wide>(sum[i], widen(other[i]));
          }
          break;
        case ReduceOp::kMin:
          for (std::size_t i = 0; i < length; ++i) {
            sum[i] = std::min<Wide>(sum[i], widen(other[i]));
          }
          break;
      }
    }
    if (op == ReduceOp::kAverage) {
      const auto ranks = static_cast<Wide>(contributions.size());
      for (std::size_t i = 0; i < length; ++i) {
        sum[i] = static_cast<Wide>(sum[i] / ranks);
      }
    }
    auto* out = static_cast<Stored*>(result) + begin;
    for (std::size_t i = 0; i < length; ++i) {
      out[i] = narrow<Stored>(sum[i]);
    }
  }
}

}  // namespace

void reduce_contributions(std::span<const void* const> contributions, void* result,
                          std::size_t count, DType dtype, ReduceOp op) {
  switch (dtype) {
    case DType::kFloat32:
      return reduce_as<float>(contributions, result, count, op);
    case DType::kFloat16:
      return reduce_as<Float16>(contributions, result, count, op);
    case DType::kBFloat16:
      return reduce_as<BFloat16>(contributions, result, count, op);
    case DType::kFloat64:
      return reduce_as<double>(contributions, result, count, op);
    case DType::kInt32:
      return reduce_as<std::int32_t>(contributions, result, count, op);
    case DType::kInt64:
      return reduce_as<std::int64_t>(contributions, result, count, op);
    case DType::kUInt8:
      return reduce_as<std::uint8_t>(contributions, result, count, op);
  }
}

}  // namespace desta::runtime
