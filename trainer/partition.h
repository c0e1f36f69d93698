// Cutting the frozen models into pipeline stages. The whole is one chain of units:
//   encoder front, encoder layers (up to the last tap), adapter (with the LLM's embedding), LLM
//   layers, head (with the loss)
// and a stage is a contiguous run of it.
#pragma once

#include <cstdint>
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
};

// Everything that the chain's units depend on.
struct ModelShapes {
  models::WhisperConfig whisper;
  models::LlamaConfig llama;
  models::QFormerConfig adapter;
  std::int64_t text_tokens = 200;  // tokens a sample besides the speech vectors, for the estimate
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
  double work = 0;
  std::int64_t parameters = 0;

  [[nodiscard]] bool has_encoder() const { return encoder_front || encoder_begin < encoder_end; }
  [[nodiscard]] bool has_llama() const { return adapter || head || llama_begin < llama_end; }
  // One line for people: "encoder front, encoder 0-3, adapter, llm 0-1".
  [[nodiscard]] std::string describe() const;
};

// The contiguous cut into `stages` runs whose largest work is smallest.
// Throws ConfigError when there are more stages than units.
[[nodiscard]] std::vector<StagePart> partition(const ModelShapes& shapes, std::int64_t stages);

// Which stage holds the adapter: the first that has a backward pass.
[[nodiscard]] std::int64_t adapter_stage(const std::vector<StagePart>& parts);

}  // namespace desta::trainer
