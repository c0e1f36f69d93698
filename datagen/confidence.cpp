#include "datagen/confidence.h"

#include <cmath>

namespace desta::datagen {

double word_confidence(double value, const ErrorModel& errors,
                       const std::function<bool(double)>& same_word) {
  // Midpoints of 81 equal steps over four deviations to either side.
  constexpr int kReach = 40;
  constexpr double kStep = 0.1;
  const double deviation = errors.deviation * (errors.relative ? std::abs(value) : 1.0);
  double inside = 0.0;
  double all = 0.0;
  for (int i = -kReach; i <= kReach; ++i) {
    const double z = kStep * i;
    const double weight = std::exp(-0.5 * z * z);
    all += weight;
    inside += same_word(value + z * deviation) ? weight : 0.0;
  }
  return (1.0 - errors.gross) * inside / all;
}

double activity_confidence(double snr_db) { return snr_db >= 20 ? 0.92 : snr_db >= 10 ? 0.9 : 0.75; }

}  // namespace desta::datagen
