// Elementary functions that a compiler turns into vector instructions. Private to this folder.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

namespace desta::models {

// e^x, by Cody and Waite's reduction and the polynomial of Cephes' expf (Moshier). Relative error at most
// 4e-6 for -87 <= x <= 88: 2 units in the last place, but that a compiler that may reassociate, as it may
// in this folder's kernels, joins the two constants of the reduction. Where e^x is not a normal float32:
// the smallest or largest that is near it.
[[gnu::always_inline]] inline float exp_of(float x) {
  x = std::min(std::max(x, -87.0F), 88.0F);
  const float turns = x * 1.44269504F;
  const auto n = static_cast<std::int32_t>(turns + 128.5F) - 128;  // nearest: what is cut off is positive
  const auto whole = static_cast<float>(n);
  const float r = x - whole * 0.693359375F - whole * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const float value = p * r * r + r + 1.0F;
  return value * std::bit_cast<float>((n + 127) << 23);
}

// The largest of `count` numbers; -inf of none. A compiler that must mind NaN makes no vector instruction of a
// running maximum, but it does of several side by side. What NaN among them comes to is not said.
[[gnu::always_inline]] inline float largest_of(const float* numbers, std::int64_t count) {
  constexpr std::int64_t kLanes = 16;
  using Lanes [[gnu::vector_size(kLanes * sizeof(float))]] = float;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  Lanes even = Lanes{} + kNone;
  Lanes odd = even;
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    Lanes here;
    Lanes next;
    std::memcpy(&here, numbers + i, sizeof(here));
    std::memcpy(&next, numbers + i + kLanes, sizeof(next));
    even = here > even ? here : even;
    odd = next > odd ? next : odd;
  }
  even = odd > even ? odd : even;
  float largest = kNone;
  for (; i < count; ++i) {
    largest = std::max(largest, numbers[i]);
  }
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    largest = std::max(largest, even[lane]);
  }
  return largest;
}

}  // namespace desta::models
