#include "models/llama.h"

#include <cmath>
#include <numbers>

#include "models/attention.h"
#include "models/fused.h"
#include "models/packed_attention.h"
#include "models/product_rows.h"
#include "models/row_product.h"

namespace desta::models {

Rotary Rotary::at_positions(const Tensor& positions, const Tensor& inverse_frequencies,
                            at::ScalarType precision) {
  const Tensor rows = positions.dim() == 1 ? positions.unsqueeze(0) : positions;
  const Tensor angles = rows.to(inverse_frequencies.device(), at::kFloat).unsqueeze(-1) *
                        inverse_frequencies.view({1, 1, -1});
  const Tensor both = at::cat({angles, angles}, -1).unsqueeze(1);
  return {at::cos(both).to(precision), at::sin(both).to(precision)};
}

Tensor rotary_inverse_frequencies(const LlamaConfig& config) {
  const auto half = config.head_dim / 2;
  Tensor frequencies = at::empty({half}, at::kFloat);
  float* out = frequencies.data_ptr<float>();
  for (std::int64_t i = 0; i < half; ++i) {
    double frequency = std::pow(config.rope_theta, -2.0 * static_cast<double>(i) /
                                                       static_cast<double>(config.head_dim));
    if (config.rope_scaling.has_value()) {
      const RopeScaling& scaling = *config.rope_scaling;
      const auto original = static_cast<double>(scaling.original_max_position_embeddings);
      const double wavelength = 2.0 * std::numbers::pi / frequency;
      if (wavelength > original / scaling.low_freq_factor) {
        frequency /= scaling.factor;
      } else if (wavelength > original / scaling.high_freq_factor) {
        const double smooth = (original / wavelength - scaling.low_freq_factor) /
                              (scaling.high_freq_factor - scaling.low_freq_factor);
        frequency = (1.0 - smooth) * frequency / scaling.factor + smooth * frequency;
      }
    }
    out[i] = static_cast<float>(frequency);
  }
  return frequencies;
}

LlamaLayer::LlamaLayer(const LlamaConfig& config, std::int64_t index, TensorSource& source,
                       const Lora* lora)
    : heads_(config.num_heads), kv_heads_(config.num_kv_heads), eps_(config.rms_norm_eps) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const auto hidden = config.hidden_size;
  const auto inner = config.intermediate_size;
  const auto query_size = config.num_heads * config.head_dim;
  const auto kv_size = config.num_kv_heads * config.head_dim;
  input_norm_ = source.get(prefix + "input_layernorm.weight", {hidden});
  const auto projection = [&](const std::string& target, std::int64_t out) {
    Tensor weight = source.get(prefix + "self_attn." + target + "_proj.weight", {out, hidden});
    return lora == nullptr ? LoraLinear(std::move(weight), {}, {}, 0)
                           : lora->around(std::move(weight), index, target);
  };
  query_ = projection("q", query_size);
  key_ = projection("k", kv_size);
  value_ = projection("v", kv_size);
  output_ = source.get(prefix + "self_attn.o_proj.weight", {hidden, query_size});
  post_norm_ = source.get(prefix + "post_attention_layernorm.weight", {hidden});
  gate_ = source.get(prefix + "mlp.gate_proj.weight", {inner, hidden});
  up_ = source.get(prefix + "mlp.up_proj.weight", {inner, hidden});
  down_ = source.get(prefix + "mlp.down_proj.weight", {hidden, inner});
}

template <typename Attend>
Tensor LlamaLayer::run(const Tensor& hidden, const Rotary& rotary, Product product,
                       const Attend& attend) const {
  const Tensor normed = rms_norm(hidden, input_norm_, eps_);
  const Tensor q = rotate(split_heads(query_(normed, product), heads_), rotary.cos, rotary.sin);
  const Tensor k = rotate(split_heads(key_(normed, product), kv_heads_), rotary.cos, rotary.sin);
  const Tensor v = split_heads(value_(normed, product), kv_heads_);
  const Tensor attended = hidden + product(attend(q, k, v), output_);
  const Tensor inner = rms_norm(attended, post_norm_, eps_);
  const Tensor gated = swiglu(product(inner, gate_), product(inner, up_));
  return attended + product(gated, down_);
}

Tensor LlamaLayer::forward(const Tensor& hidden, const Rotary& rotary, const Packing& packing,
                           const SharedKeys& shared) const {
  return run(hidden, rotary, linear, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
    return packed_attention(q, k, v, packing, shared);
  });
}

Tensor LlamaLayer::forward_keeping(const Tensor& hidden, const Rotary& rotary,
                                   SharedKeys& keys) const {
  return run(hidden, rotary, linear, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
    keys = {k[0].clone(), v[0].clone(at::MemoryFormat::Contiguous)};
    return packed_attention(q, k, v, Packing::even(1, hidden.size(1)));
  });
}

Tensor LlamaLayer::step(const Tensor& hidden, const Rotary& rotary, const StepPlan& plan,
                        PagedKvCache& cache, std::int64_t cache_layer) const {
  const auto product = [](const Tensor& x, const Tensor& weight) { return row_product(x, weight); };
  return run(hidden, rotary, product, [&](const Tensor& q, const Tensor& k, const Tensor& v) {
    cache.write(cache_layer, k, v, plan);
    return cache.attend(cache_layer, q, plan);
  });
}

std::optional<LlamaLayerWeights> LlamaLayer::weights() const {
  const LlamaLayerWeights weights{input_norm_, query_.weight_alone(), key_.weight_alone(), value_.weight_alone(),
                                  output_,     post_norm_,            gate_,               up_,
                                  down_};
  return weights.query.defined() && weights.key.defined() && weights.value.defined() ? std::optional(weights)
                                                                                     : std::nullopt;
}

Llama::Llama(LlamaConfig config, LlamaPart part, TensorSource& source, const Lora* lora)
    : config_(std::move(config)), part_(part) {
  const std::vector<std::int64_t> table = {config_.vocab_size, config_.hidden_size};
  const bool tied_head = part_.head && config_.tie_word_embeddings;
  if (part_.embedding || tied_head) {
    embedding_ = source.get("model.embed_tokens.weight", table);
    options_ = embedding_.options();
  }
  for (auto i = part_.first_layer; i < part_.end_layer; ++i) {
    layers_.emplace_back(config_, i, source, lora);
    options_ = layers_.back().options();
  }
  if (part_.head) {
    norm_ = source.get("model.norm.weight", {config_.hidden_size});
    head_ = tied_head ? embedding_ : source.get("lm_head.weight", table);
    options_ = head_.options();
  }
  inverse_frequencies_ = rotary_inverse_frequencies(config_).to(options_.device());
  std::vector<LlamaLayerWeights> weights;
  for (const auto& layer : layers_) {
    if (auto frozen = layer.weights()) {
      weights.push_back(*std::move(frozen));
    }
  }
  if (weights.size() == layers_.size()) {
    rows_ = LlamaRows::make(config_, weights, norm_, head_, inverse_frequencies_);
  }
}

Tensor Llama::embed(const Tensor& tokens) const {
  return at::embedding(embedding_, tokens.to(embedding_.device()));
}

Tensor Llama::run_layers(const Tensor& hidden, const Packing& packing,
                         const LlamaPrefix& prefix) const {
  // One more sequence, of zeros, which nobody reads.
  std::vector<std::int64_t> lengths = packing.lengths();
  lengths.push_back(missing_rows(packing.total(), hidden.options()));
  std::vector<Tensor> positions;
  for (const auto length : lengths) {
    positions.push_back(
        at::arange(prefix.length, prefix.length + length, at::TensorOptions(at::kLong)));
  }
  const Packing whole(lengths);
  const Rotary rotary =
      Rotary::at_positions(at::cat(positions), inverse_frequencies_, hidden.scalar_type());
  Tensor out = with_missing_rows(hidden).unsqueeze(0);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    out = prefix.layers.empty() ? layers_[i].forward(out, rotary, whole)
                                : layers_[i].forward(out, rotary, whole, prefix.layers[i]);
  }
  return out.squeeze(0).narrow(0, 0, packing.total());
}

LlamaPrefix Llama::make_prefix(const Tensor& hidden) const {
  const at::NoGradGuard no_grad;
  LlamaPrefix prefix{hidden.size(0), std::vector<SharedKeys>(layers_.size()), {}};
  const Rotary rotary =
      Rotary::at_positions(at::arange(prefix.length, at::TensorOptions(at::kLong)),
                           inverse_frequencies_, hidden.scalar_type());
  Tensor out = hidden.unsqueeze(0);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    out = layers_[i].forward_keeping(out, rotary, prefix.layers[i]);
  }
  prefix.output = out.squeeze(0);
  return prefix;
}

Tensor Llama::run_layers(const Tensor& hidden) const {
  const auto packing = Packing::even(hidden.size(0), hidden.size(1));
  return run_layers(hidden.reshape({packing.total(), hidden.size(2)}), packing).view(hidden.sizes());
}

HeadLoss Llama::loss(const Tensor& hidden, const Tensor& targets, double scale) const {
  return head_loss(rms_norm(hidden, norm_, config_.rms_norm_eps), head_,
                   targets.to(hidden.device()).contiguous(), scale);
}

Tensor Llama::logits(const Tensor& hidden) const {
  return at::linear(rms_norm(hidden, norm_, config_.rms_norm_eps), head_);
}

std::int64_t Llama::page_bytes() const {
  return 2 * static_cast<std::int64_t>(layers_.size() * options_.dtype().itemsize()) *
         config_.num_kv_heads * config_.head_dim * kPagePositions;
}

std::unique_ptr<KvPages> Llama::make_pages(std::int64_t count) const {
  return std::make_unique<PagedKvCache>(static_cast<std::int64_t>(layers_.size()),
                                        config_.num_kv_heads, config_.head_dim, count,
                                        options_.requires_grad(c10::nullopt));
}

Tensor Llama::step(const Tensor& embeddings, const StepPlan& plan, KvPages& pages) const {
  const at::NoGradGuard no_grad;
  auto& cache = dynamic_cast<PagedKvCache&>(pages);
  cache.copy(plan.copies);
  if (rows_ != nullptr && embeddings.device().is_cpu() && embeddings.scalar_type() == options_.dtype()) {
    return rows_->step(embeddings, plan, cache);
  }
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> wanted;
  for (const auto& rows : plan.sequences) {
    for (std::int64_t i = 0; i < rows.count; ++i) {
      positions.push_back(rows.first + i);
    }
    if (rows.wants_logits) {
      wanted.push_back(static_cast<std::int64_t>(positions.size()) - 1);
    }
  }
  const Rotary rotary = Rotary::at_positions(at::tensor(positions, at::kLong), inverse_frequencies_,
                                             embeddings.scalar_type());
  Tensor hidden = embeddings.unsqueeze(0);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    hidden = layers_[i].step(hidden, rotary, plan, cache, static_cast<std::int64_t>(i));
  }
  if (!part_.head) {
    return hidden[0];
  }
  if (wanted.empty()) {
    return at::empty({0, config_.vocab_size}, hidden.options().dtype(at::kFloat));
  }
  const Tensor ends = hidden[0].index_select(0, at::tensor(wanted, at::kLong).to(hidden.device()));
  return row_product(rms_norm(ends, norm_, config_.rms_norm_eps), head_, /*wide=*/true);
}

}  // namespace desta::models
