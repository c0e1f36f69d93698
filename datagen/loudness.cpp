#include "datagen/loudness.h"

#include <ebur128.h>

#include <cmath>
#include <memory>

#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

struct Closer {
  void operator()(ebur128_state* state) const { ebur128_destroy(&state); }
};

}  // namespace

std::optional<double> integrated_loudness(std::span<const float> samples, int sample_rate) {
  if (sample_rate <= 0) {
    return std::nullopt;
  }
  const std::unique_ptr<ebur128_state, Closer> state(
      ebur128_init(1, static_cast<unsigned long>(sample_rate), EBUR128_MODE_I));
  double loudness = 0.0;
  if (state == nullptr ||
      ebur128_add_frames_float(state.get(), samples.data(), samples.size()) != EBUR128_SUCCESS ||
      ebur128_loudness_global(state.get(), &loudness) != EBUR128_SUCCESS) {
    throw runtime::InternalError("libebur128 cannot measure {} samples at {} Hz: is memory full?",
                                 samples.size(), sample_rate);
  }
  return std::isfinite(loudness) ? std::optional(loudness) : std::nullopt;
}

}  // namespace desta::datagen
