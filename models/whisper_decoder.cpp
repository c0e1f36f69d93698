#include <fmt/format.h>

#include <limits>

#include "models/attention.h"
#include "models/whisper.h"
#include "models/whisper_layers.h"

namespace desta::models {

WhisperDecoder::WhisperDecoder(WhisperConfig config, TensorSource& source)
    : config_(std::move(config)) {
  const auto size = config_.d_model;
  const std::string root = "model.decoder.";
  embedding_ = source.get(root + "embed_tokens.weight", {config_.vocab_size, size});
  positions_ = source.get(root + "embed_positions.weight", {config_.max_target_positions, size});
  for (std::int64_t i = 0; i < config_.decoder_layers; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    Layer layer;
    layer.self = WhisperAttention(prefix + "self_attn.", size, config_.decoder_heads, source);
    layer.self_norm = load_norm(source, prefix + "self_attn_layer_norm", size);
    layer.cross = WhisperAttention(prefix + "encoder_attn.", size, config_.decoder_heads, source);
    layer.cross_norm = load_norm(source, prefix + "encoder_attn_layer_norm", size);
    layer.up = load_linear(source, prefix + "fc1", config_.decoder_ffn, size);
    layer.down = load_linear(source, prefix + "fc2", size, config_.decoder_ffn);
    layer.final_norm = load_norm(source, prefix + "final_layer_norm", size);
    layers_.push_back(std::move(layer));
  }
  final_norm_ = load_norm(source, root + "layer_norm", size);
}

WhisperDecoder::CrossKeys WhisperDecoder::cross_keys(const Tensor& encoded) const {
  CrossKeys keys;
  for (const auto& layer : layers_) {
    keys.emplace_back(layer.cross.project_key(encoded), layer.cross.project_value(encoded));
  }
  return keys;
}

Tensor WhisperDecoder::run(const Tensor& tokens, const Tensor& positions, const CrossKeys& cross,
                           const Tensor& bias, KvCache* cache) const {
  Tensor hidden = at::embedding(embedding_, tokens) + at::embedding(positions_, positions);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const Tensor x = layer.self_norm(hidden);
    Tensor k = layer.self.project_key(x);
    Tensor v = layer.self.project_value(x);
    if (cache != nullptr) {
      std::tie(k, v) = cache->append(static_cast<std::int64_t>(i), k, v);
    }
    hidden = hidden + layer.self.attend(layer.self.project_query(x), k, v, bias);
    const Tensor y = layer.cross_norm(hidden);
    hidden = hidden + layer.cross.attend(layer.cross.project_query(y), cross[i].first,
                                         cross[i].second, Tensor());
    hidden = hidden + layer.down(at::gelu(layer.up(layer.final_norm(hidden))));
  }
  return final_norm_(hidden);
}

Tensor WhisperDecoder::logits(const Tensor& tokens, const CrossKeys& cross) const {
  const auto time = tokens.size(1);
  const Tensor positions = at::arange(time, tokens.options()).unsqueeze(0);
  const Tensor hidden =
      run(tokens, positions, cross, causal_bias(time, embedding_.device()), nullptr);
  return at::linear(hidden, embedding_);
}

KvCache WhisperDecoder::make_cache(std::int64_t batch) const {
  return KvCache(config_.decoder_layers, batch, config_.decoder_heads,
                 config_.max_target_positions, config_.d_model / config_.decoder_heads,
                 embedding_.options().requires_grad(c10::nullopt));
}

Tensor WhisperDecoder::step(const Tensor& tokens, const CrossKeys& cross, KvCache& cache) const {
  const at::NoGradGuard no_grad;
  const auto time = tokens.size(1);
  const Tensor positions = cache.new_positions(time).to(embedding_.device());
  const Tensor bias = cache.attention_bias(time).to(embedding_.device());
  const Tensor hidden = run(tokens, positions, cross, bias, &cache);
  cache.advance(time);
  return at::linear(hidden.select(1, time - 1), embedding_).to(at::kFloat);
}

std::vector<std::vector<std::int64_t>> transcribe(
    const WhisperEncoder& encoder, const WhisperDecoder& decoder, const Tensor& mel,
    const std::vector<std::int64_t>& prompt, std::int64_t end_token, std::int64_t max_tokens) {
  const at::NoGradGuard no_grad;
  const auto batch = mel.size(0);
  const WhisperConfig& config = encoder.config();
  const auto cross = decoder.cross_keys(encoder.encode(mel));
  KvCache cache = decoder.make_cache(batch);
  std::vector<std::vector<std::int64_t>> rows(static_cast<std::size_t>(batch));
  std::vector<bool> ended(rows.size(), false);
  Tensor input = at::tensor(prompt, at::kLong).unsqueeze(0).repeat({batch, 1}).to(mel.device());
  const auto room = config.max_target_positions - static_cast<std::int64_t>(prompt.size());
  const float never = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < std::min(max_tokens, room); ++i) {
    Tensor logits = decoder.step(input, cross, cache);
    for (const auto token : config.suppress_tokens) {
      logits.select(1, token).fill_(never);
    }
    if (i == 0) {
      for (const auto token : config.begin_suppress_tokens) {
        logits.select(1, token).fill_(never);
      }
    }
    const Tensor next = logits.argmax(1).to(at::kCPU);
    bool all_ended = true;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const auto token = next[static_cast<std::int64_t>(row)].item<std::int64_t>();
      ended[row] = ended[row] || token == end_token;
      if (!ended[row]) {
        rows[row].push_back(token);
        all_ended = false;
      }
    }
    if (all_ended) {
      break;
    }
    input = next.unsqueeze(1).to(mel.device());
  }
  return rows;
}

}  // namespace desta::models
