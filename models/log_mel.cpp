#include "models/log_mel.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace desta::models {
namespace {

constexpr std::int64_t kFftSize = 400;
constexpr std::int64_t kHop = 160;
constexpr double kSampleRate = 16000.0;

// Slaney's Auditory Toolbox scale: linear below 1 kHz, logarithmic above.
constexpr double kLinearStep = 200.0 / 3.0;
constexpr double kLogStart = 1000.0;
const double kLogStep = std::log(6.4) / 27.0;

double hz_to_mel(double hz) {
  return hz < kLogStart ? hz / kLinearStep
                        : kLogStart / kLinearStep + std::log(hz / kLogStart) / kLogStep;
}

double mel_to_hz(double mel) {
  const double start = kLogStart / kLinearStep;
  return mel < start ? mel * kLinearStep : kLogStart * std::exp(kLogStep * (mel - start));
}

}  // namespace

at::Tensor mel_filters(std::int64_t mel_bins, std::int64_t fft_size, double sample_rate) {
  const std::int64_t bins = fft_size / 2 + 1;
  const double top = hz_to_mel(sample_rate / 2);
  std::vector<double> edges;
  for (std::int64_t i = 0; i < mel_bins + 2; ++i) {
    edges.push_back(mel_to_hz(top * static_cast<double>(i) / static_cast<double>(mel_bins + 1)));
  }
  at::Tensor filters = at::zeros({mel_bins, bins}, at::kFloat);
  auto out = filters.accessor<float, 2>();
  for (std::int64_t m = 0; m < mel_bins; ++m) {
    const auto i = static_cast<std::size_t>(m);
    const double area = 2.0 / (edges[i + 2] - edges[i]);
    for (std::int64_t k = 0; k < bins; ++k) {
      const double hz = sample_rate * static_cast<double>(k) / static_cast<double>(fft_size);
      const double rising = (hz - edges[i]) / (edges[i + 1] - edges[i]);
      const double falling = (edges[i + 2] - hz) / (edges[i + 2] - edges[i + 1]);
      out[m][k] = static_cast<float>(std::max(0.0, std::min(rising, falling)) * area);
    }
  }
  return filters;
}

LogMel::LogMel(std::int64_t mel_bins, std::int64_t frames)
    : frames_(frames),
      window_(at::hann_window(kFftSize, /*periodic=*/true)),
      filters_(mel_filters(mel_bins, kFftSize, kSampleRate)) {}

at::Tensor LogMel::operator()(std::span<const float> samples) const {
  const at::NoGradGuard no_grad;
  const std::int64_t wanted = frames_ * kHop;
  const auto count = std::min<std::int64_t>(wanted, static_cast<std::int64_t>(samples.size()));
  at::Tensor audio = at::zeros({1, 1, wanted}, at::kFloat);
  std::copy_n(samples.begin(), count, audio.data_ptr<float>());
  const at::Tensor padded =
      at::reflection_pad1d(audio, {kFftSize / 2, kFftSize / 2}).view({-1});
  // One frame more than needed comes out of the padding; Whisper drops the last.
  const at::Tensor frames = padded.unfold(0, kFftSize, kHop).narrow(0, 0, frames_) * window_;
  const at::Tensor power = at::square(at::abs(at::fft_rfft(frames)));
  const at::Tensor energy = at::matmul(filters_, power.transpose(0, 1));
  at::Tensor log = at::log10(at::clamp_min(energy, 1e-10));
  log = at::maximum(log, log.max() - 8.0);
  return (log + 4.0) / 4.0;
}

}  // namespace desta::models
