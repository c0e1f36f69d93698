#include "datagen/resample.h"

#include <soxr.h>

#include <cmath>

#include "runtime/core/error.h"

namespace desta::datagen {

Resampler::Resampler(double from_rate, double to_rate) : ratio_(to_rate / from_rate) {
  soxr_error_t error = nullptr;
  const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t threads = soxr_runtime_spec(1);
  handle_ = soxr_create(from_rate, to_rate, 1, &error, &io, &quality, &threads);
  if (error != nullptr) {
    throw runtime::InternalError("cannot resample from {} Hz to {} Hz: {}", from_rate, to_rate,
                                 error);
  }
}

Resampler::~Resampler() { soxr_delete(static_cast<soxr_t>(handle_)); }

void Resampler::process(const float* input, std::size_t count, std::vector<float>& output) {
  constexpr std::size_t kSlack = 4096;
  while (true) {
    const std::size_t before = output.size();
    const std::size_t room =
        static_cast<std::size_t>(std::ceil(static_cast<double>(count) * ratio_)) + kSlack;
    output.resize(before + room);
    std::size_t consumed = 0;
    std::size_t produced = 0;
    const soxr_error_t error = soxr_process(static_cast<soxr_t>(handle_), input, count, &consumed,
                                            output.data() + before, room, &produced);
    output.resize(before + produced);
    if (error != nullptr) {
      throw runtime::InternalError("resampling failed: {}", error);
    }
    const bool flushing = input == nullptr;
    if (flushing ? produced < room : consumed == count) {
      return;
    }
    if (!flushing) {
      input += consumed;
      count -= consumed;
    }
  }
}

void Resampler::push(std::span<const float> input, std::vector<float>& output) {
  if (!input.empty()) {
    process(input.data(), input.size(), output);
  }
}

void Resampler::finish(std::vector<float>& output) { process(nullptr, 0, output); }

std::vector<float> resample(std::span<const float> samples, double from_rate, double to_rate) {
  if (from_rate == to_rate) {
    return {samples.begin(), samples.end()};
  }
  std::vector<float> output;
  Resampler resampler(from_rate, to_rate);
  resampler.push(samples, output);
  resampler.finish(output);
  return output;
}

}  // namespace desta::datagen
