// The frozen models and the adapter as one chain of units, and what each of them costs:
//   encoder front, encoder layers (up to the last tap), adapter (with the LLM's embedding), LLM
//   layers, head (with the loss)
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/llama.h"
#include "models/qformer.h"
#include "models/whisper.h"
#include "trainer/layer_costs.h"

namespace desta::trainer {

enum class UnitKind : std::uint8_t { kEncoderFront, kEncoderLayer, kAdapter, kLlamaLayer, kHead };

struct Unit {
  UnitKind kind;
  std::int64_t index = 0;       // layer number
  double work = 0;              // floating point operations a sample, forward and backward
  UnitCost cost;                // measured; else of those operations at kCountedSpeed
  double made_again = 0;        // bytes a sample while its backward pass runs, where passes are made again
  std::int64_t parameters = 0;  // frozen ones
  bool learns = false;
  std::int64_t learned = 0;     // parameters that learn; low-rank updates are not counted

  [[nodiscard]] std::string name() const;  // "encoder front", "encoder 2", "adapter", "llm 0", "head"
};

// Operations a second of the machine whose seconds a Unit's cost is in when nothing was measured.
inline constexpr double kCountedSpeed = 1e12;

// Everything that the chain's units depend on.
struct ModelShapes {
  models::WhisperConfig whisper;
  models::LlamaConfig llama;
  models::QFormerConfig adapter;
  std::optional<models::LoraConfig> lora;  // low-rank updates of the LLM, where they learn
  std::int64_t trained_encoder_layers = 0; // Whisper's topmost layers that are read and learn
  std::int64_t text_tokens = 200;  // tokens a sample besides the speech vectors, for the estimate
  std::int64_t element_bytes = 2;  // of a frozen weight, and of what is kept of activations
  std::optional<LayerCosts> costs; // measured; none: operations and bytes are counted
  bool recompute = false;          // passes from the adapter on are made again for the backward pass
  // Adapters that are trained at once, and how many of them have rows of their own: others hear what the
  // encoder has made already. Their costs are those of an average one.
  std::int64_t trials = 1;
  std::int64_t streams = 1;

  // Encoder layers [0, read_layers()) are run; those from trained_from() on learn.
  [[nodiscard]] std::int64_t read_layers() const {
    return *std::max_element(adapter.taps.begin(), adapter.taps.end()) + 1;
  }
  [[nodiscard]] std::int64_t trained_from() const { return read_layers() - trained_encoder_layers; }
};

// What a layer's cost depends on, in words: "encoder 768 x 1500, ...".
[[nodiscard]] std::string describe(const ModelShapes& shapes);

// Throws ConfigError when `costs` were measured for other models.
[[nodiscard]] std::vector<Unit> list_units(const ModelShapes& shapes);

}  // namespace desta::trainer
