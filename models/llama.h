// Llama 3, 3.1 and 3.2 (Dubey et al. 2024): RMSNorm, rotary embedding, grouped-query attention,
// SwiGLU. Parameter names are those of transformers' LlamaForCausalLM.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "models/head_loss.h"
#include "models/language_model.h"
#include "models/llama_config.h"
#include "models/llama_rows.h"
#include "models/lora.h"
#include "models/packed_attention.h"
#include "models/packing.h"
#include "models/paged_kv_cache.h"
#include "models/tensor_source.h"

namespace desta::models {

// Cosines and sines of the rotary embedding (Su et al. 2021), halves repeated as transformers lays
// them out.
struct Rotary {
  Tensor cos;  // [1 or batch, 1, time, head_dim]
  Tensor sin;

  // For positions [batch, time] or [time]. `inverse_frequencies`: [head_dim / 2].
  [[nodiscard]] static Rotary at_positions(const Tensor& positions,
                                           const Tensor& inverse_frequencies,
                                           at::ScalarType precision);
};

// theta^(-2i/head_dim), scaled as Llama 3.1 does when the configuration says so: [head_dim / 2].
[[nodiscard]] Tensor rotary_inverse_frequencies(const LlamaConfig& config);

class LlamaLayer {
 public:
  // `lora`: updates of its projections, or null.
  LlamaLayer(const LlamaConfig& config, std::int64_t index, TensorSource& source, const Lora* lora);

  // Whole sequences, causally: hidden [1, total, hidden] -> the same shape. `shared`: what each of them
  // sees in front of itself.
  [[nodiscard]] Tensor forward(const Tensor& hidden, const Rotary& rotary, const Packing& packing,
                               const SharedKeys& shared = {}) const;
  // The same for one sequence whose keys and values are kept in `keys`.
  [[nodiscard]] Tensor forward_keeping(const Tensor& hidden, const Rotary& rotary,
                                       SharedKeys& keys) const;
  // New positions of many sequences: hidden [1, rows, hidden] -> the same shape. Their keys and values go to
  // layer `cache_layer` of the cache. See LanguageModel::step().
  [[nodiscard]] Tensor step(const Tensor& hidden, const Rotary& rotary, const StepPlan& plan,
                            PagedKvCache& cache, std::int64_t cache_layer) const;

  [[nodiscard]] at::TensorOptions options() const { return output_.options(); }
  // Its weights, where nothing updates them.
  [[nodiscard]] std::optional<LlamaLayerWeights> weights() const;

 private:
  // `attend`: q, k, v [batch, heads, time, head_dim] -> [batch, time, heads * head_dim].
  template <typename Attend>
  [[nodiscard]] Tensor run(const Tensor& hidden, const Rotary& rotary, Product product,
                           const Attend& attend) const;

  std::int64_t heads_;
  std::int64_t kv_heads_;
  double eps_;
  LoraLinear query_, key_, value_;
  Tensor input_norm_, output_, post_norm_, gate_, up_, down_;
};

// A contiguous run of a Llama: what one pipeline stage holds.
struct LlamaPart {
  std::int64_t first_layer = 0;
  std::int64_t end_layer = 0;  // one past the last
  bool embedding = false;
  bool head = false;

  [[nodiscard]] static LlamaPart whole(const LlamaConfig& config) {
    return {0, config.num_layers, true, true};
  }
};

// A beginning that sequences share, as this part's layers see it.
struct LlamaPrefix {
  std::int64_t length = 0;
  std::vector<SharedKeys> layers;  // empty: no prefix
  Tensor output;                   // [length, hidden]
};

class Llama final : public LanguageModel {
 public:
  // Asks `source` for the tensors of `part` only. `lora`: updates of its layers, or null.
  Llama(LlamaConfig config, LlamaPart part, TensorSource& source, const Lora* lora = nullptr);

  [[nodiscard]] const LlamaConfig& config() const { return config_; }
  [[nodiscard]] const LlamaPart& part() const { return part_; }
  [[nodiscard]] at::Device device() const { return options_.device(); }

  // [...] int64 -> [..., hidden]. Needs the embedding.
  [[nodiscard]] Tensor embed(const Tensor& tokens) const override;
  // Runs this part's layers over whole sequences, causally: [total, hidden] -> the same. With a prefix,
  // the sequences go on behind it.
  [[nodiscard]] Tensor run_layers(const Tensor& hidden, const Packing& packing,
                                  const LlamaPrefix& prefix = {}) const;
  // The same for sequences of one length: [batch, time, hidden] -> the same.
  [[nodiscard]] Tensor run_layers(const Tensor& hidden) const;
  // Runs the beginning that sequences share, once for all of them: hidden [length, hidden]. Without a
  // gradient. The layers' output, [length, hidden], is what the next part's prefix is made from.
  [[nodiscard]] LlamaPrefix make_prefix(const Tensor& hidden) const;
  // Final norm, head and cross entropy at `targets` [n] int64: hidden [n, hidden]. See head_loss.h.
  [[nodiscard]] HeadLoss loss(const Tensor& hidden, const Tensor& targets, double scale) const;
  // Final norm and head: [..., hidden] -> [..., vocab_size], in the model's precision.
  [[nodiscard]] Tensor logits(const Tensor& hidden) const;

  [[nodiscard]] std::int64_t vocab_size() const override { return config_.vocab_size; }
  [[nodiscard]] std::int64_t max_positions() const override {
    return config_.max_position_embeddings;
  }
  [[nodiscard]] std::int64_t page_bytes() const override;
  [[nodiscard]] std::unique_ptr<KvPages> make_pages(std::int64_t count) const override;
  // Of a part without the head: hidden states [plan.rows(), hidden], which are the next part's `embeddings`.
  // On a CPU, in float32 and bfloat16, a sequence's logits are the same to the bit whatever other sequences
  // are in the plan and however its positions were cut into steps. (The widths of the layers must be multiples
  // of 32, as those of all published Llamas are.)
  [[nodiscard]] Tensor step(const Tensor& embeddings, const StepPlan& plan,
                            KvPages& pages) const override;

 private:
  LlamaConfig config_;
  LlamaPart part_;
  Tensor embedding_;  // [vocab_size, hidden]
  std::vector<LlamaLayer> layers_;
  Tensor norm_;
  Tensor head_;  // [vocab_size, hidden]; the embedding itself when tied
  Tensor inverse_frequencies_;
  at::TensorOptions options_;
  std::shared_ptr<const LlamaRows> rows_;  // step() by rows in memory, where that can be
};

}  // namespace desta::models
