#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

namespace desta::models {

TokenId sample(const at::Tensor& logits, const SamplingOptions& options,
               runtime::Random& random) {
  const at::Tensor row = logits.contiguous();
  const std::span<const float> values(row.data_ptr<float>(),
                                      static_cast<std::size_t>(row.numel()));
  const auto top = std::max_element(values.begin(), values.end());
  if (options.temperature <= 0.0) {
    return top - values.begin();
  }
  std::vector<double> weights;
  weights.reserve(values.size());
  for (const float value : values) {
    weights.push_back(std::exp((static_cast<double>(value) - *top) / options.temperature));
  }
  std::vector<TokenId> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return weights[static_cast<std::size_t>(a)] > weights[static_cast<std::size_t>(b)];
  });
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  double kept = 0.0;
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || kept < options.top_p * total)) {
    kept += weights[static_cast<std::size_t>(order[count++])];
  }
  double point = random.uniform() * kept;
  for (std::size_t i = 0; i < count; ++i) {
    point -= weights[static_cast<std::size_t>(order[i])];
    if (point < 0.0) {
      return order[i];
    }
  }
  return order[count - 1];
}

}  // namespace desta::models
