// Rooms by the image-source method (Allen and Berkley, "Image method for efficiently simulating
// small-room acoustics", JASA 65(4), 1979): another kind of room than datagen/acoustics.h draws, with
// its direct sound, distance and walls, to try estimates of reverberation on.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "runtime/core/random.h"

namespace desta::bench {

// The impulse response of a shoebox of 3 to 10 x 3 to 8 x 2.3 to 4 m whose walls take 8 to 60 % of the
// energy, between two points 0.4 to 5 m apart, from the direct sound on. Images beyond the first have random
// signs, which breaks the sweeping echoes of a perfect box. At most 0.7 s.
inline std::vector<float> draw_image_source_response(int rate, runtime::Random& random) {
  constexpr double kSpeed = 343.0;  // m/s
  const std::array<double, 3> size = {random.uniform(3, 10), random.uniform(3, 8),
                                      random.uniform(2.3, 4)};
  const double reflection = std::sqrt(1.0 - random.uniform(0.08, 0.6));
  std::array<double, 3> source{};
  std::array<double, 3> microphone{};
  double distance = 0.0;
  while (distance < 0.4 || distance > 5.0) {
    double squares = 0.0;
    for (int axis = 0; axis < 3; ++axis) {
      source[axis] = random.uniform(0.5, size[axis] - 0.5);
      microphone[axis] = random.uniform(0.5, size[axis] - 0.5);
      squares += (source[axis] - microphone[axis]) * (source[axis] - microphone[axis]);
    }
    distance = std::sqrt(squares);
  }
  const double volume = size[0] * size[1] * size[2];
  const double walls = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2]);
  // Sabine's reverberation time: what comes later is 60 dB down.
  const double seconds =
      std::clamp(0.161 * volume / (walls * (1 - reflection * reflection)), 0.08, 0.7);
  struct Image {
    double offset;
    int bounces;
  };
  std::array<std::vector<Image>, 3> images;
  for (int axis = 0; axis < 3; ++axis) {
    const int reach = static_cast<int>(std::ceil(seconds * kSpeed / (2 * size[axis])));
    for (int n = -reach; n <= reach; ++n) {
      images[axis].push_back({2 * n * size[axis] + source[axis] - microphone[axis], std::abs(2 * n)});
      images[axis].push_back(
          {2 * n * size[axis] - source[axis] - microphone[axis], std::abs(2 * n - 1)});
    }
  }
  const double reach = distance + seconds * kSpeed;
  std::vector<float> response(static_cast<std::size_t>((reach - distance) / kSpeed * rate) + 2);
  for (const Image& x : images[0]) {
    for (const Image& y : images[1]) {
      const double plane = x.offset * x.offset + y.offset * y.offset;
      if (plane >= reach * reach) {
        continue;
      }
      for (const Image& z : images[2]) {
        const double length = std::sqrt(plane + z.offset * z.offset);
        if (length >= reach) {
          continue;
        }
        const int bounces = x.bounces + y.bounces + z.bounces;
        const double sign = bounces == 0 || random.chance(0.5) ? 1.0 : -1.0;
        const double gain = sign * std::pow(reflection, bounces) / length;
        const double place = std::max(0.0, (length - distance) / kSpeed * rate);
        const auto index = static_cast<std::size_t>(place);
        const double part = place - static_cast<double>(index);
        response[index] += static_cast<float>(gain * (1 - part));
        response[index + 1] += static_cast<float>(gain * part);
      }
    }
  }
  return response;
}

}  // namespace desta::bench
