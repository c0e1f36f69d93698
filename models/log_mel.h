// Whisper's front end (Radford et al. 2022): log-mel energies of 16 kHz audio, 25 ms Hann windows
// every 10 ms, Slaney-style mel filters over 0 to 8 kHz.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <span>

namespace desta::models {

class LogMel {
 public:
  // mel_bins: 80, or 128 for large-v3. frames: the window that comes out, 10 ms each (3000: 30 s).
  LogMel(std::int64_t mel_bins, std::int64_t frames);

  // Samples in [-1, 1] at 16 kHz, cut or zero-padded to the window -> [mel_bins, frames], float32,
  // log10 energies clamped to 8 below their maximum, then (x + 4) / 4.
  [[nodiscard]] at::Tensor operator()(std::span<const float> samples) const;

  [[nodiscard]] std::int64_t frames() const { return frames_; }

 private:
  std::int64_t frames_;
  at::Tensor window_;   // [400]
  at::Tensor filters_;  // [mel_bins, 201]
};

// Triangular filters, equally spaced on the Slaney mel scale and normalised to unit area:
// [mel_bins, fft_size / 2 + 1] (librosa's default, which Whisper ships).
[[nodiscard]] at::Tensor mel_filters(std::int64_t mel_bins, std::int64_t fft_size,
                                     double sample_rate);

}  // namespace desta::models
