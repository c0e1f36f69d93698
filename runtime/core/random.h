// Seeded randomness that gives the same numbers on every machine: std::mt19937_64 is fixed by the
// standard, the distributions of <random> are not, so these few are our own.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace desta::runtime {

// One stream per purpose: mix(seed, "epoch", 3) style keys are folded into one 64-bit seed.
[[nodiscard]] std::uint64_t mix_seed(std::uint64_t seed, std::uint64_t key);

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  // Uniform in [0, bound), bound > 0; the bias of the multiply-shift is below bound / 2^64.
  [[nodiscard]] std::uint64_t below(std::uint64_t bound);
  // Uniform in [low, high).
  [[nodiscard]] double uniform(double low = 0.0, double high = 1.0);
  // Standard normal (Box-Muller).
  [[nodiscard]] double normal();
  [[nodiscard]] bool chance(double probability) { return uniform() < probability; }

  template <typename Container>
  [[nodiscard]] const auto& pick(const Container& options) {
    return options[below(options.size())];
  }

  // Fisher-Yates.
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i) {
      std::swap(values[i - 1], values[below(i)]);
    }
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace desta::runtime
