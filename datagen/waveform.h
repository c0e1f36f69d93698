// One channel of sound in memory.
#pragma once

#include <vector>

namespace desta::datagen {

// The rate that every part of this project works at, in Hz (Whisper's input rate).
inline constexpr int kSampleRate = 16000;

// Mono samples in [-1, 1], where 1 is digital full scale.
struct Waveform {
  std::vector<float> samples;
  int sample_rate = kSampleRate;  // Hz

  [[nodiscard]] double seconds() const { return static_cast<double>(samples.size()) / sample_rate; }
};

}  // namespace desta::datagen
