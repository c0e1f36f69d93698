// Cutting the frozen models into pipeline stages: a stage is a contiguous run of their chain of units.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/model_units.h"

namespace desta::trainer {

// How much of a rank's memory a stage may take.
struct MemoryLimit {
  double bytes = 0;               // for weights, what passes keep, and gradients and moments; 0: no limit
  std::int64_t micro_size = 1;    // samples a microbatch
  std::int64_t microbatches = 1;  // of a step
  bool all_at_once = false;       // all forward passes come before the first backward pass

  // Microbatches whose forward pass is done and whose backward pass is still to come, at most, on one of
  // `stages` stages: 1F1B's, or all.
  [[nodiscard]] std::int64_t in_flight(std::int64_t stage, std::int64_t stages) const {
    return all_at_once ? microbatches : std::min(microbatches, stages - stage);
  }
};

// Bytes that a stage takes: `parameters` frozen ones, `learned` ones in float32 with their gradients and
// AdamW's two moments, and what so many samples keep.
[[nodiscard]] double memory_of(std::int64_t parameters, std::int64_t learned, double kept_bytes,
                               std::int64_t samples, std::int64_t element_bytes);

// What one stage holds.
struct StagePart {
  std::int64_t stage = 0;
  bool encoder_front = false;
  std::int64_t encoder_begin = 0, encoder_end = 0;
  bool adapter = false;
  std::int64_t llama_begin = 0, llama_end = 0;
  bool head = false;
  bool learns = false;           // something here does
  bool backward_before = false;  // something on an earlier stage does
  double work = 0;
  UnitCost cost;
  double made_again = 0;
  std::int64_t parameters = 0;
  std::int64_t learned = 0;

  [[nodiscard]] bool has_encoder() const { return encoder_front || encoder_begin < encoder_end; }
  [[nodiscard]] bool has_backward() const { return learns || backward_before; }
  [[nodiscard]] bool has_llama() const { return adapter || head || llama_begin < llama_end; }
  // One line for people: "encoder front, encoder 0-3, adapter, llm 0-1".
  [[nodiscard]] std::string describe() const;
};

// Encoder layers [encoder_begin, frozen_end()) of a stage do not learn.
[[nodiscard]] std::int64_t frozen_end(const StagePart& part, const ModelShapes& shapes);

// What a cut has to keep to.
struct CutRules {
  MemoryLimit limit = {};
  // This stage begins with the adapter; what is in front of it and the rest are cut each by itself.
  std::optional<std::int64_t> adapter_stage = std::nullopt;
  // Units ("encoder 2", "adapter", "llm 0", "head") with which the stages behind the first begin; empty: the best
  // cut is looked for.
  std::vector<std::string> begins = {};
  // Texts that the stages with layers of the LLM write for each sample that is trained, in the gaps of its steps
  // (executor.h).
  double texts = 0;
};

// The contiguous cut into `stages` runs, each within the limit, whose costliest is cheapest: that one
// sets the pace of a pipeline. Where texts are written in gaps, the cut with which training and writing together
// take least, of the one above and those that keep the LLM's layers off the first one, two, ... stages: a stage that
// sets the pace has no gaps, and what does not fit into them takes time of its own. A text costs what a forward
// pass does (measured on a CPU: 6.6 ms, beside 6.4 ms for the pass). Throws ConfigError when there are more stages than units, when `begins` are not
// units in order, one for each stage behind the first, and, naming what the smallest sufficient limit would be,
// when no cut fits or this one does not.
[[nodiscard]] std::vector<StagePart> partition(const ModelShapes& shapes, std::int64_t stages,
                                               const CutRules& rules = {});

// Bytes of one sample that cross to the stage behind: hidden states, in front of the adapter with the taps
// so far.
[[nodiscard]] double boundary_bytes(const ModelShapes& shapes, const StagePart& part);

// Which stage holds the adapter.
[[nodiscard]] std::int64_t adapter_stage(const std::vector<StagePart>& parts);

// Stages on which something learns, in order. The first is the first with a backward pass.
[[nodiscard]] std::vector<std::int64_t> learning_stages(const std::vector<StagePart>& parts);
// The ranks of a pipeline that hold them, in order: stage s is on rank s % ranks.
[[nodiscard]] std::vector<std::int64_t> learning_ranks(const std::vector<StagePart>& parts,
                                                       std::int64_t ranks);

}  // namespace desta::trainer
