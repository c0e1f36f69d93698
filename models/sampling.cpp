#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace desta::models {
namespace {

void penalise(std::span<float> logits, double penalty, std::span<const TokenId> before) {
  std::vector<TokenId> tokens(before.begin(), before.end());
  std::ranges::sort(tokens);
  const auto repeated = std::ranges::unique(tokens);
  tokens.erase(repeated.begin(), repeated.end());
  for (const auto token : tokens) {
    if (token >= 0 && token < static_cast<TokenId>(logits.size())) {
      float& logit = logits[static_cast<std::size_t>(token)];
      logit = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
    }
  }
}

}  // namespace

TokenId sample(std::span<float> logits, const SamplingOptions& options, runtime::Random& random,
               std::span<const TokenId> before) {
  if (options.repetition_penalty != 1.0) {
    penalise(logits, options.repetition_penalty, before);
  }
  const auto top = std::ranges::max_element(logits);
  if (options.temperature <= 0.0) {
    return top - logits.begin();
  }
  std::vector<double> weights;
  weights.reserve(logits.size());
  for (const float value : logits) {
    weights.push_back(std::exp((static_cast<double>(value) - *top) / options.temperature));
  }
  std::vector<TokenId> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  const auto weight = [&](TokenId token) { return weights[static_cast<std::size_t>(token)]; };
  const auto likelier = [&](TokenId a, TokenId b) {
    return weight(a) > weight(b) || (weight(a) == weight(b) && a < b);
  };
  const std::size_t most =
      options.top_k > 0 ? std::min(order.size(), static_cast<std::size_t>(options.top_k)) : order.size();
  // The nucleus is mostly small: only as much as it takes is put in order.
  std::size_t sorted = 0;
  const auto sort_more = [&] {
    const std::size_t goal = std::min(most, std::max<std::size_t>(64, 4 * sorted));
    const auto begin = order.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(goal);
    if (end != order.end()) {
      std::nth_element(begin, end - 1, order.end(), likelier);
    }
    std::sort(begin, end, likelier);
    sorted = goal;
  };
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (most < order.size()) {
    while (sorted < most) {
      sort_more();
    }
    total = 0.0;
    for (std::size_t i = 0; i < most; ++i) {
      total += weight(order[i]);
    }
  }
  double kept = 0.0;
  std::size_t count = 0;
  while (count < most && (count == 0 || kept < options.top_p * total)) {
    if (count == sorted) {
      sort_more();
    }
    kept += weight(order[count++]);
  }
  double point = random.uniform() * kept;
  for (std::size_t i = 0; i < count; ++i) {
    point -= weight(order[i]);
    if (point < 0.0) {
      return order[i];
    }
  }
  return order[count - 1];
}

}  // namespace desta::models
