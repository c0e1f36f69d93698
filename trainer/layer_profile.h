// Measuring what layers cost on this machine.
#pragma once

#include <cstdint>

#include "trainer/partition.h"

namespace desta::trainer {

// Bytes of host memory that are in use now, as malloc counts them.
[[nodiscard]] std::uint64_t live_bytes();

// Runs one unit of each kind with random weights over microbatches of `samples`: one pass to warm up,
// then passes for a tenth of a second, five at least, of which the median counts; fewer, but one, where that
// takes more than two seconds. Memory for one layer of the LLM and for its input must be there; the head's cost
// is that of 16,384 words of its vocabulary, scaled. Bytes kept are measured on the CPU alone; list_units takes
// no fewer than it counts.
[[nodiscard]] LayerCosts measure_layer_costs(const ModelShapes& shapes, std::int64_t samples,
                                             at::ScalarType precision, at::Device device);

}  // namespace desta::trainer
