#include "ranks_under_test.h"

#include <bit>
#include <cstring>

namespace desta::runtime::testing {
namespace {

template <typename T>
void put(void* data, std::size_t i, T value) {
  std::memcpy(static_cast<std::byte*>(data) + i * sizeof(T), &value, sizeof(T));
}

template <typename T>
T get(const void* data, std::size_t i) {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(data) + i * sizeof(T), sizeof(T));
  return value;
}

// IEEE binary16 of a whole number below 2048, by its definition.
std::uint16_t half_of(int number) {
  if (number == 0) {
    return 0;
  }
  const int exponent = std::bit_width(static_cast<unsigned>(number)) - 1;
  const int fraction = (number << 10 >> exponent) & 0x3ff;
  return static_cast<std::uint16_t>((exponent + 15) << 10 | fraction);
}

int number_of(std::uint16_t half) {
  return half == 0 ? 0 : ((half & 0x3ff) | 0x400) << ((half >> 10) - 15) >> 10;
}

}  // namespace

void store(void* data, std::size_t i, DType dtype, int number) {
  switch (dtype) {
    case DType::kFloat32:
      return put(data, i, static_cast<float>(number));
    case DType::kFloat16:
      return put(data, i, half_of(number));
    case DType::kBFloat16:
      return put(data, i,
                 static_cast<std::uint16_t>(
                     std::bit_cast<std::uint32_t>(static_cast<float>(number)) >> 16));
    case DType::kFloat64:
      return put(data, i, static_cast<double>(number));
    case DType::kInt32:
      return put(data, i, static_cast<std::int32_t>(number));
    case DType::kInt64:
      return put(data, i, static_cast<std::int64_t>(number));
    case DType::kUInt8:
      return put(data, i, static_cast<std::uint8_t>(number));
  }
}

int load(const void* data, std::size_t i, DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return static_cast<int>(get<float>(data, i));
    case DType::kFloat16:
      return number_of(get<std::uint16_t>(data, i));
    case DType::kBFloat16:
      return static_cast<int>(
          std::bit_cast<float>(static_cast<std::uint32_t>(get<std::uint16_t>(data, i)) << 16));
    case DType::kFloat64:
      return static_cast<int>(get<double>(data, i));
    case DType::kInt32:
      return get<std::int32_t>(data, i);
    case DType::kInt64:
      return static_cast<int>(get<std::int64_t>(data, i));
    case DType::kUInt8:
      return get<std::uint8_t>(data, i);
  }
  return -1;
}

}  // namespace desta::runtime::testing
