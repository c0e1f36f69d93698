// The discrete Fourier transform of sizes that are powers of two, and what is built on it here.
#pragma once

#include <complex>
#include <cstddef>
#include <span>
#include <vector>

namespace desta::datagen {

// In place: X[k] = sum_n x[n] exp(-2 pi i k n / N), or with `inverse` the sum over +i divided by
// N. Throws InternalError unless the size is a power of two.
void fft(std::span<std::complex<double>> values, bool inverse = false);

// The smallest power of two that is at least `size` (1 for 0).
[[nodiscard]] std::size_t next_power_of_two(std::size_t size);

// Linear convolution, `signal.size() + response.size() - 1` samples; empty when either is.
[[nodiscard]] std::vector<float> convolve(std::span<const float> signal,
                                          std::span<const float> response);

}  // namespace desta::datagen
