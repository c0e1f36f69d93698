#include "trainer/model_units.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/folded_attention.h"
#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// What passes over one sample take. Frozen layers cost their forward product (2 operations a parameter
// and token), and the same again where an input gradient goes back; what learns pays for the gradient
// of its weights too.
struct Count {
  double forward = 0;   // operations
  double backward = 0;
  double kept = 0;      // elements
};

Count operator+(const Count& a, const Count& b) {
  return {a.forward + b.forward, a.backward + b.backward, a.kept + b.kept};
}

Count product(std::int64_t parameters, std::int64_t tokens, bool has_backward, bool learns = false) {
  const double forward = 2.0 * static_cast<double>(parameters) * static_cast<double>(tokens);
  return {forward, (has_backward ? 1.0 : 0.0) * forward + (learns ? 1.0 : 0.0) * forward, 0};
}

Count attention(std::int64_t tokens, std::int64_t width, bool has_backward) {
  const double forward = 4.0 * static_cast<double>(tokens) * static_cast<double>(tokens) *
                         static_cast<double>(width);
  return {forward, has_backward ? 2.0 * forward : 0.0, 0};
}

Count adapter(const ModelShapes& shapes) {
  const models::QFormerConfig& a = shapes.adapter;
  const auto frames = static_cast<double>(shapes.whisper.max_source_positions);
  const auto taps = static_cast<double>(a.taps.size());
  const auto d = static_cast<double>(a.d_model);
  const auto queries = static_cast<double>(a.queries);
  const auto ffn = static_cast<double>(a.ffn);
  const auto heads = static_cast<double>(a.heads);
  const bool folded = models::folding_pays(a.queries, a.heads, a.d_model);
  // The products with all frames: keys and values and then with each query, or with each head's queries alone.
  const double reading = 2.0 * frames * d * (folded ? heads * queries : d + queries);
  const double per_layer = queries * ((folded ? 8.0 : 6.0) * d * d + 2.0 * d * ffn) + reading;
  const double layers = taps * static_cast<double>(a.layers);
  const double parameters = layers * per_layer + queries * d * static_cast<double>(a.d_llm);
  // Of each layer: keys and values of all frames, unless they are folded away; attention weights, and them
  // with dropout, over frames and over queries; a dozen states a query, half of them in float32; the inner
  // layer before and after its gelu.
  const double kept =
      layers * ((folded ? 0.0 : 2.0 * frames * d) + 2.0 * heads * queries * (frames + queries) +
                queries * (18.0 * d + 2.0 * ffn));
  return {2.0 * parameters, 4.0 * parameters, kept};
}

// Without biases and norms.
std::int64_t adapter_parameters(const models::QFormerConfig& a) {
  return a.layers * (8 * a.d_model * a.d_model + 2 * a.d_model * a.ffn) +
         (static_cast<std::int64_t>(a.taps.size()) * a.queries + a.d_llm) * a.d_model;
}

// An encoder layer that learns keeps ten states a frame, two of the inner layer, and the attention
// weights.
double kept_by_encoder(const models::WhisperConfig& w) {
  const auto frames = static_cast<double>(w.max_source_positions);
  return frames * (10.0 * static_cast<double>(w.d_model) + 2.0 * static_cast<double>(w.encoder_ffn) +
                   static_cast<double>(w.encoder_heads) * frames);
}

// A frozen layer of the LLM keeps what its nonlinear parts need (models/fused.h, packed_attention.h): the
// inputs of both norms, queries, keys and values, the gate and what it is multiplied with.
double kept_by_llm(const models::LlamaConfig& l, std::int64_t tokens) {
  return static_cast<double>(tokens) *
         static_cast<double>(2 * l.hidden_size + (l.num_heads + 2 * l.num_kv_heads) * l.head_dim +
                             2 * l.intermediate_size);
}

}  // namespace

std::string describe(const ModelShapes& shapes) {
  const models::WhisperConfig& w = shapes.whisper;
  const models::LlamaConfig& l = shapes.llama;
  const models::QFormerConfig& a = shapes.adapter;
  return fmt::format(
      "encoder {} x {} of {} frames; adapter {} layers of {}, {} queries, {} taps; llm {} x {}, {} and {} "
      "heads of {}, {} words{}{}; {} bytes",
      w.d_model, w.encoder_ffn, w.max_source_positions, a.layers, a.ffn, a.queries, a.taps.size(),
      l.hidden_size, l.intermediate_size, l.num_heads, l.num_kv_heads, l.head_dim, l.vocab_size,
      shapes.lora.has_value() ? fmt::format(", updates of rank {}", shapes.lora->rank) : "",
      shapes.trained_encoder_layers > 0 ? ", encoder layers learn" : "", shapes.element_bytes);
}

std::vector<Unit> list_units(const ModelShapes& shapes) {
  if (shapes.costs.has_value() && shapes.costs->models != describe(shapes)) {
    throw runtime::ConfigError("pipeline.costs were measured for other models ({}), these are {}; measure "
                               "them anew with `desta-train CONFIG --dry-run --profile FILE`",
                               shapes.costs->models, describe(shapes));
  }
  const models::WhisperConfig& w = shapes.whisper;
  const models::LlamaConfig& l = shapes.llama;
  const auto frames = w.max_source_positions;
  const auto tokens = shapes.text_tokens + shapes.adapter.queries;
  std::vector<Unit> units;
  const auto add = [&](UnitKind kind, std::int64_t index, const Count& count,
                       std::int64_t parameters, bool learns, UnitCost LayerCosts::*measured) {
    UnitCost cost{count.forward / kCountedSpeed, count.backward / kCountedSpeed,
                  count.kept * static_cast<double>(shapes.element_bytes)};
    if (shapes.costs.has_value()) {
      const UnitCost& found = (*shapes.costs).*measured;
      // Measured texts are as long as they usually are, but memory must be there for the longest.
      cost = {found.forward, found.backward, std::max(found.kept_bytes, cost.kept_bytes)};
    }
    if (kind == UnitKind::kEncoderFront || kind == UnitKind::kEncoderLayer) {
      const double share = static_cast<double>(shapes.streams) / static_cast<double>(shapes.trials);
      cost = {share * cost.forward, share * cost.backward, cost.kept_bytes};
    }
    double made_again = 0;
    if (shapes.recompute && (kind == UnitKind::kAdapter || kind == UnitKind::kLlamaLayer)) {
      // What is kept is the input: the taps, and of each layer its own, though a stage keeps its first one's alone.
      made_again = cost.kept_bytes;
      const std::int64_t inputs = kind == UnitKind::kAdapter
                                      ? static_cast<std::int64_t>(shapes.adapter.taps.size()) * frames * w.d_model
                                      : tokens * l.hidden_size;
      cost = {cost.forward, cost.backward + cost.forward,
              static_cast<double>(inputs * shapes.element_bytes)};
    }
    const std::int64_t learned = kind == UnitKind::kAdapter ? shapes.trials * adapter_parameters(shapes.adapter)
                                 : kind == UnitKind::kEncoderLayer && learns ? parameters
                                                                             : 0;
    units.push_back(
        {kind, index, count.forward + count.backward, cost, made_again, parameters, learns, learned});
  };
  const auto front = 3 * w.d_model * (w.mel_bins + w.d_model);
  add(UnitKind::kEncoderFront, 0, product(front, frames, false), front + frames * w.d_model, false,
      &LayerCosts::encoder_front);
  for (std::int64_t i = 0; i < shapes.read_layers(); ++i) {
    const auto parameters = w.encoder_layer_parameters();
    const bool learns = i >= shapes.trained_from();
    add(UnitKind::kEncoderLayer, i,
        product(parameters, frames, learns, learns) + attention(frames, w.d_model, learns) +
            Count{0, 0, learns ? kept_by_encoder(w) : 0},
        parameters, learns, learns ? &LayerCosts::trained_encoder_layer : &LayerCosts::encoder_layer);
  }
  add(UnitKind::kAdapter, 0, adapter(shapes), l.embedding_parameters(), true, &LayerCosts::adapter);
  for (std::int64_t i = 0; i < l.num_layers; ++i) {
    const auto parameters = l.layer_parameters();
    add(UnitKind::kLlamaLayer, i,
        product(parameters, tokens, true) + attention(tokens, l.num_heads * l.head_dim, true) +
            Count{0, 0, kept_by_llm(l, tokens)},
        parameters, shapes.lora.has_value(), &LayerCosts::llm_layer);
  }
  // The head runs at response positions only, about half of the text, and makes its gradient along with
  // the loss.
  const auto responses = shapes.text_tokens / 2;
  const Count head = product(l.embedding_parameters(), responses, true);
  add(UnitKind::kHead, 0,
      {head.forward + head.backward, 0, 2.0 * static_cast<double>(responses * l.hidden_size)},
      l.embedding_parameters() + l.hidden_size, false, &LayerCosts::head);
  return units;
}

std::string Unit::name() const {
  switch (kind) {
    case UnitKind::kEncoderFront:
      return "encoder front";
    case UnitKind::kEncoderLayer:
      return fmt::format("encoder {}", index);
    case UnitKind::kAdapter:
      return "adapter";
    case UnitKind::kLlamaLayer:
      return fmt::format("llm {}", index);
    case UnitKind::kHead:
      return "head";
  }
  return "";
}

}  // namespace desta::trainer
