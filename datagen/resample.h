// Change of sample rate (soxr, high quality).
#pragma once

#include <span>
#include <vector>

namespace desta::datagen {

// The whole of a mono signal at another rate [Hz]. Throws InternalError when soxr fails.
[[nodiscard]] std::vector<float> resample(std::span<const float> samples, double from_rate,
                                          double to_rate);

// The same in pieces, for streams that do not fit in memory. Owns the soxr handle.
class Resampler {
 public:
  Resampler(double from_rate, double to_rate);
  ~Resampler();
  Resampler(const Resampler&) = delete;
  Resampler& operator=(const Resampler&) = delete;

  // Appends to `output` what can be given so far.
  void push(std::span<const float> input, std::vector<float>& output);
  // Appends the rest; nothing may be pushed afterwards.
  void finish(std::vector<float>& output);

 private:
  void process(const float* input, std::size_t count, std::vector<float>& output);

  void* handle_ = nullptr;
  double ratio_;
};

}  // namespace desta::datagen
