// Cutting the frozen models into pipeline stages. The whole is one chain of units:
//   encoder front, encoder layers (up to the last tap), adapter (with the LLM's embedding), LLM
//   layers, head (with the loss)
// and a stage is a contiguous run of it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/llama.h"
#include "models/qformer.h"
#include "models/whisper.h"

namespace desta::trainer {

enum class UnitKind : std::uint8_t { kEncoderFront, kEncoderLayer, kAdapter, kLlamaLayer, kHead };

struct Unit {
  UnitKind kind;
  std::int64_t index = 0;       // layer number
  double work = 0;              // floating point operations a sample, forward and backward
  std::int64_t parameters = 0;  // frozen ones
  bool learns = false;
};

// Everything that the chain's units depend on.
struct ModelShapes {
  models::WhisperConfig whisper;
  models::LlamaConfig llama;
  models::QFormerConfig adapter;
  std::optional<models::LoraConfig> lora;  // low-rank updates of the LLM, where they learn
  std::int64_t trained_encoder_layers = 0; // Whisper's topmost layers that are read and learn
  std::int64_t text_tokens = 200;  // tokens a sample besides the speech vectors, for the estimate

  // Encoder layers [0, read_layers()) are run; those from trained_from() on learn.
  [[nodiscard]] std::int64_t read_layers() const {
    return *std::max_element(adapter.taps.begin(), adapter.taps.end()) + 1;
  }
  [[nodiscard]] std::int64_t trained_from() const { return read_layers() - trained_encoder_layers; }
};

[[nodiscard]] std::vector<Unit> list_units(const ModelShapes& shapes);

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
  std::int64_t parameters = 0;

  [[nodiscard]] bool has_encoder() const { return encoder_front || encoder_begin < encoder_end; }
  [[nodiscard]] bool has_backward() const { return learns || backward_before; }
  [[nodiscard]] bool has_llama() const { return adapter || head || llama_begin < llama_end; }
  // One line for people: "encoder front, encoder 0-3, adapter, llm 0-1".
  [[nodiscard]] std::string describe() const;
};

// The contiguous cut into `stages` runs whose largest work is smallest.
// Throws ConfigError when there are more stages than units.
[[nodiscard]] std::vector<StagePart> partition(const ModelShapes& shapes, std::int64_t stages);

// Which stage holds the adapter.
[[nodiscard]] std::int64_t adapter_stage(const std::vector<StagePart>& parts);

// Stages on which something learns, in order. The first is the first with a backward pass.
[[nodiscard]] std::vector<std::int64_t> learning_stages(const std::vector<StagePart>& parts);
// The ranks of a pipeline that hold them, in order: stage s is on rank s % ranks.
[[nodiscard]] std::vector<std::int64_t> learning_ranks(const std::vector<StagePart>& parts,
                                                       std::int64_t ranks);

}  // namespace desta::trainer
