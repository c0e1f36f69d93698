// What learns, and where: the adapter always; besides it, if asked for, low-rank updates of the LLM's
// layers or Whisper's topmost layers that are read. All of it is float32 and belongs to the trial.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "models/tensor_source.h"
#include "trainer/options.h"
#include "trainer/partition.h"

namespace desta::trainer {

// Initial values, by name, of what learns on this stage beside the adapter. `speech`: the Whisper's
// folder, read where its layers learn. Values do not depend on how the models are cut.
[[nodiscard]] models::TensorMap initial_beside_adapter(const StagePart& part,
                                                       const ModelShapes& shapes,
                                                       const std::string& speech,
                                                       std::uint64_t seed);

// The checkpoint's file that a parameter of this name stands in: "adapter", "lora" or "encoder", with
// ".safetensors" behind.
[[nodiscard]] std::string parameter_file(std::string_view name);

}  // namespace desta::trainer
