#include "datagen/fft.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

// exp(-2 pi i k / size) for k < size / 2; a stage of length L uses every (size / L)-th. The last
// size asked for is kept, since callers transform many blocks of one size.
const std::vector<std::complex<double>>& roots_of(std::size_t size) {
  thread_local std::vector<std::complex<double>> roots;
  if (roots.size() != size / 2) {
    roots.resize(size / 2);
    for (std::size_t k = 0; k < roots.size(); ++k) {
      roots[k] = std::polar(
          1.0, -2.0 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(size));
    }
  }
  return roots;
}

std::complex<double> product(std::complex<double> a, std::complex<double> b) {
  // Written out: std::complex's operator* checks for NaN, which costs a factor of three.
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

}  // namespace

std::size_t next_power_of_two(std::size_t size) { return std::bit_ceil(size == 0 ? 1 : size); }

void fft(std::span<std::complex<double>> values, bool inverse) {
  const std::size_t size = values.size();
  if (!std::has_single_bit(size)) {
    throw runtime::InternalError("fft of {} points: the size must be a power of two", size);
  }
  for (std::size_t i = 1, j = 0; i < size; ++i) {
    std::size_t bit = size >> 1;
    for (; (j & bit) != 0; bit >>= 1) {
      j ^= bit;
    }
    j ^= bit;
    if (i < j) {
      std::swap(values[i], values[j]);
    }
  }
  const std::vector<std::complex<double>>& roots = roots_of(size);
  const double sign = inverse ? -1.0 : 1.0;
  for (std::size_t length = 2; length <= size; length <<= 1) {
    const std::size_t half = length / 2;
    const std::size_t stride = size / length;
    for (std::size_t start = 0; start < size; start += length) {
      for (std::size_t k = 0; k < half; ++k) {
        const std::complex<double> root(roots[k * stride].real(), sign * roots[k * stride].imag());
        const std::complex<double> turned = product(root, values[start + k + half]);
        const std::complex<double> even = values[start + k];
        values[start + k] = even + turned;
        values[start + k + half] = even - turned;
      }
    }
  }
  if (inverse) {
    for (auto& value : values) {
      value /= static_cast<double>(size);
    }
  }
}

std::vector<float> convolve(std::span<const float> signal, std::span<const float> response) {
  if (signal.empty() || response.empty()) {
    return {};
  }
  // Overlap-add. Two blocks of the signal ride in one complex transform, as its real and its
  // imaginary part: the response is real, so they do not mix.
  const std::size_t length = signal.size() + response.size() - 1;
  const std::size_t size =
      next_power_of_two(std::min(length, std::max<std::size_t>(2 * response.size(), 4096)));
  const std::size_t block = size - response.size() + 1;
  std::vector<std::complex<double>> spectrum(size);
  std::copy(response.begin(), response.end(), spectrum.begin());
  fft(spectrum);
  std::vector<float> result(length);
  std::vector<std::complex<double>> values(size);
  for (std::size_t start = 0; start < signal.size(); start += 2 * block) {
    std::fill(values.begin(), values.end(), 0.0);
    for (std::size_t i = 0; i < block; ++i) {
      const std::size_t first = start + i;
      const std::size_t second = first + block;
      values[i] = {first < signal.size() ? signal[first] : 0.0F,
                   second < signal.size() ? signal[second] : 0.0F};
    }
    fft(values);
    for (std::size_t k = 0; k < size; ++k) {
      values[k] = product(values[k], spectrum[k]);
    }
    fft(values, true);
    for (std::size_t i = 0; i < size && start + i < length; ++i) {
      result[start + i] += static_cast<float>(values[i].real());
    }
    for (std::size_t i = 0; i < size && start + block + i < length; ++i) {
      result[start + block + i] += static_cast<float>(values[i].imag());
    }
  }
  return result;
}

}  // namespace desta::datagen
