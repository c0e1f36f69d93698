// The order in which a backward pass brings the gradients of what learns: buckets that are cut along
// it are full early, and can cross between replicas while the pass goes on.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/qformer.h"
#include "models/tensor_source.h"

namespace desta::trainer {

// Names of an adapter's parameters (where there is one) and of `others` (learned.h), by arrival. The
// adapter's come in the order that a backward pass through a narrow adapter with the same layers and
// taps shows; low-rank updates of the LLM come before, from the last layer to the first, and
// Whisper's layers after.
[[nodiscard]] std::vector<std::string> arrival_order(
    const std::optional<models::QFormerConfig>& adapter, const models::TensorMap& others);

}  // namespace desta::trainer
