// The tags of messages between the ranks of a pipeline, in one place so that no two are the same.
#pragma once

#include <cstdint>

namespace desta::trainer {

inline constexpr int kNormTag = 1;        // a trial's gradient norm
inline constexpr int kOverTag = 2;        // the step is over
inline constexpr int kStateTag = 4;       // what a stage has learned, for a checkpoint
inline constexpr int kGenerationTag = 5;  // rows of text generation
// From here on: the passes of a step.
inline constexpr std::int64_t kFirstPassTag = 16;

}  // namespace desta::trainer
