#include "models/qformer.h"

#include <fmt/format.h>

#include "models/attention.h"
#include "models/folded_attention.h"
#include "models/fused.h"
#include "models/torch_util.h"
#include "runtime/core/error.h"

namespace desta::models {
namespace {

constexpr double kBertEps = 1e-12;
constexpr double kProjectionEps = 1e-5;

}  // namespace

TensorMap initial_qformer(const QFormerConfig& config, std::uint64_t seed) {
  TensorMap tensors;
  RandomSource source(tensors, seed);
  (void)QFormer(config, source);
  at::Generator generator = make_generator(seed + 1);
  for (std::size_t tap = 0; tap < config.taps.size(); ++tap) {
    tensors.at(fmt::format("layer_prompts.{}", tap)).normal_(0.0, 1.0, generator);
  }
  tensors.at("layer_weights").zero_();
  tensors.at("proj.0.weight").fill_(1.0);
  for (auto& [name, tensor] : tensors) {
    if (name.ends_with("LayerNorm.weight")) {
      tensor.fill_(1.0);
    }
  }
  return tensors;
}

QFormer::QFormer(QFormerConfig config, TensorSource& parameters, at::ScalarType precision)
    : config_(std::move(config)), precision_(precision) {
  const auto size = config_.d_model;
  if (config_.taps.empty() || size % config_.heads != 0) {
    throw runtime::ModelError("the adapter needs at least one tap, and a width ({}) that is a "
                              "multiple of its heads ({})",
                              size, config_.heads);
  }
  const auto dense = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    return Dense{parameters.get(name + ".weight", {out, in}),
                 parameters.get(name + ".bias", {out})};
  };
  const auto norm = [&](const std::string& name) {
    return Dense{parameters.get(name + ".weight", {size}), parameters.get(name + ".bias", {size})};
  };
  const auto attention = [&](const std::string& name) {
    return Attention{dense(name + ".self.query", size, size), dense(name + ".self.key", size, size),
                     dense(name + ".self.value", size, size),
                     dense(name + ".output.dense", size, size), norm(name + ".output.LayerNorm")};
  };
  // The published names count the taps, not the layers that they read.
  for (std::size_t tap = 0; tap < config_.taps.size(); ++tap) {
    prompts_.push_back(
        parameters.get(fmt::format("layer_prompts.{}", tap), {1, config_.queries, size}));
  }
  tap_weights_ = parameters.get("layer_weights",
                                {config_.queries, static_cast<std::int64_t>(config_.taps.size())});
  for (std::int64_t i = 0; i < config_.layers; ++i) {
    const std::string prefix = fmt::format("qformer.layer.{}.", i);
    layers_.push_back({attention(prefix + "attention"), attention(prefix + "crossattention"),
                       dense(prefix + "intermediate.dense", config_.ffn, size),
                       dense(prefix + "output.dense", size, config_.ffn),
                       norm(prefix + "output.LayerNorm")});
  }
  projection_norm_ = norm("proj.0");
  projection_ = dense("proj.1", config_.d_llm, size);
}

Tensor QFormer::linear(const Tensor& x, const Dense& dense) const {
  return at::linear(x, dense.weight.to(precision_), dense.bias.to(precision_));
}

Tensor QFormer::layer_norm(const Tensor& x, const Dense& norm, double eps) const {
  return models::layer_norm(x.to(at::kFloat), norm.weight, norm.bias, eps).to(precision_);
}

Tensor QFormer::add_and_norm(const Attention& weights, const Tensor& x, const Tensor& mixed,
                             const c10::optional<at::Generator>& drop) const {
  const Tensor out = dropout(linear(mixed, weights.output), config_.dropout, drop);
  return layer_norm(x + out, weights.norm, kBertEps);
}

Tensor QFormer::attend(const Attention& weights, const Tensor& x, const Tensor& context,
                       const c10::optional<at::Generator>& drop) const {
  const auto heads = config_.heads;
  const Tensor mixed = models::attention(split_heads(linear(x, weights.query), heads),
                                         split_heads(linear(context, weights.key), heads),
                                         split_heads(linear(context, weights.value), heads),
                                         Tensor(), config_.dropout, drop);
  return add_and_norm(weights, x, mixed, drop);
}

Tensor QFormer::read(const Attention& weights, const Tensor& x, const Tensor& states,
                     const c10::optional<at::Generator>& drop) const {
  if (!folding_pays(config_.queries, config_.heads, config_.d_model)) {
    return attend(weights, x, states, drop);
  }
  const KeyAndValue projections{weights.key.weight.to(precision_), weights.key.bias,
                                weights.value.weight.to(precision_), weights.value.bias.to(precision_)};
  return add_and_norm(weights, x,
                      folded_attention(linear(x, weights.query), states, projections, config_.heads,
                                       config_.dropout, drop),
                      drop);
}

Tensor QFormer::forward(const std::vector<Tensor>& tapped,
                        const c10::optional<at::Generator>& drop) const {
  const auto taps = static_cast<std::int64_t>(prompts_.size());
  const auto batch = tapped.front().size(0);
  // All taps go through the shared encoder as one batch of [taps * batch] rows.
  std::vector<Tensor> queries;
  for (const auto& prompt : prompts_) {
    queries.push_back(prompt.to(precision_).expand({batch, -1, -1}));
  }
  const Tensor context = at::cat(tapped, 0).to(precision_);
  Tensor x = at::cat(queries, 0);
  for (const auto& layer : layers_) {
    x = attend(layer.self, x, x, drop);
    x = read(layer.cross, x, context, drop);
    const Tensor inner = linear(at::gelu(linear(x, layer.up)), layer.down);
    x = layer_norm(x + dropout(inner, config_.dropout, drop), layer.norm, kBertEps);
  }
  const Tensor by_tap = x.view({taps, batch, config_.queries, config_.d_model});
  const Tensor weights = at::softmax(tap_weights_, -1).to(precision_);  // [queries, taps]
  const Tensor mixed =
      (by_tap * weights.transpose(0, 1).view({taps, 1, config_.queries, 1})).sum(0);
  return linear(layer_norm(mixed, projection_norm_, kProjectionEps), projection_);
}

}  // namespace desta::models
