// The modality adapter of DeSTA2: learned queries read each tapped Whisper layer through a small
// BERT-style encoder with cross-attention; a learned softmax mixes the taps; a projection maps the
// result into the LLM's embedding space. The only part that trains. Parameter names are those of
// the published connector.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "models/tensor_source.h"

namespace desta::models {

struct QFormerConfig {
  std::int64_t d_model = 768;                   // Whisper's width
  std::int64_t heads = 12;                      // Whisper's encoder heads
  std::int64_t d_llm = 4096;                    // the LLM's width
  std::vector<std::int64_t> taps = {2, 5, 8, 11};
  std::int64_t queries = 64;
  std::int64_t layers = 2;
  std::int64_t ffn = 3072;                      // whatever d_model is, as published
  double dropout = 0.1;
};

// Draws initial parameters: queries N(0, 1), tap weights zero, the rest N(0, 0.02) with zero biases
// and unit norms (BERT's; Devlin et al. 2018).
[[nodiscard]] TensorMap initial_qformer(const QFormerConfig& config, std::uint64_t seed);

class QFormer {
 public:
  // Takes float32 parameters by name and computes in `precision`. The tensors are shared with the
  // source, not copied, so gradients arrive at them.
  QFormer(QFormerConfig config, TensorSource& parameters, at::ScalarType precision = at::kFloat);

  [[nodiscard]] const QFormerConfig& config() const { return config_; }

  // tapped: one [batch, frames, d_model] a tap, in the order of config.taps.
  // Returns speech vectors [batch, queries, d_llm]. Dropout is applied when a generator is given.
  [[nodiscard]] Tensor forward(const std::vector<Tensor>& tapped,
                               const c10::optional<at::Generator>& dropout = c10::nullopt) const;

 private:
  struct Dense {
    Tensor weight, bias;
  };
  struct Attention {
    Dense query, key, value, output, norm;
  };
  struct Layer {
    Attention self, cross;
    Dense up, down, norm;
  };
  [[nodiscard]] Tensor linear(const Tensor& x, const Dense& dense) const;
  [[nodiscard]] Tensor layer_norm(const Tensor& x, const Dense& norm, double eps) const;
  [[nodiscard]] Tensor attend(const Attention& attention, const Tensor& x, const Tensor& context,
                              const c10::optional<at::Generator>& dropout) const;
  // The same over an encoder's states, folded where that pays.
  [[nodiscard]] Tensor read(const Attention& attention, const Tensor& x, const Tensor& states,
                            const c10::optional<at::Generator>& dropout) const;
  [[nodiscard]] Tensor add_and_norm(const Attention& attention, const Tensor& x, const Tensor& mixed,
                                    const c10::optional<at::Generator>& dropout) const;

  QFormerConfig config_;
  at::ScalarType precision_;
  std::vector<Tensor> prompts_;  // per tap [1, queries, d_model]
  Tensor tap_weights_;           // [queries, taps]
  std::vector<Layer> layers_;
  Dense projection_norm_, projection_;
};

}  // namespace desta::models
