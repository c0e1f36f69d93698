#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/attention.h"
#include "models/whisper.h"
#include "models/whisper_layers.h"

namespace desta::models {
namespace {

// A width-3 convolution over time, one frame of zeros on both sides, as a product over gathered
// frames: x [batch, time, channels] -> [batch, time / stride, out]. LibTorch 1.13's own conv1d and
// unfold give infinite bfloat16 gradients now and then on CPUs with AMX.
Tensor convolve_by_three(const Tensor& x, const Tensor& weight, const Tensor& bias,
                         std::int64_t stride) {
  const auto time = x.size(1);
  const Tensor padded = at::constant_pad_nd(x, {0, 0, 1, 1});
  const Tensor rows = at::cat({padded.slice(1, 0, time, stride), padded.slice(1, 1, time + 1, stride),
                               padded.slice(1, 2, time + 2, stride)},
                              2);
  return at::linear(rows, weight.transpose(1, 2).reshape({weight.size(0), -1}), bias);
}

}  // namespace

WhisperAttention::WhisperAttention(const std::string& prefix, std::int64_t size,
                                   std::int64_t heads, TensorSource& source)
    : heads_(heads),
      query_(load_linear(source, prefix + "q_proj", size, size)),
      key_{source.get(prefix + "k_proj.weight", {size, size}), Tensor()},
      value_(load_linear(source, prefix + "v_proj", size, size)),
      output_(load_linear(source, prefix + "out_proj", size, size)) {}

Tensor WhisperAttention::project_query(const Tensor& x) const {
  return split_heads(query_(x), heads_);
}
Tensor WhisperAttention::project_key(const Tensor& x) const {
  return split_heads(key_(x), heads_);
}
Tensor WhisperAttention::project_value(const Tensor& x) const {
  return split_heads(value_(x), heads_);
}
Tensor WhisperAttention::attend(const Tensor& q, const Tensor& k, const Tensor& v,
                                const Tensor& bias) const {
  return output_(attention(q, k, v, bias));
}

WhisperEncoder::WhisperEncoder(WhisperConfig config, EncoderPart part, TensorSource& source,
                               bool final_norm)
    : config_(std::move(config)), part_(part) {
  const auto size = config_.d_model;
  const std::string root = "model.encoder.";
  if (part_.front) {
    conv1_weight_ = source.get(root + "conv1.weight", {size, config_.mel_bins, 3});
    conv1_bias_ = source.get(root + "conv1.bias", {size});
    conv2_weight_ = source.get(root + "conv2.weight", {size, size, 3});
    conv2_bias_ = source.get(root + "conv2.bias", {size});
    positions_ =
        source.get(root + "embed_positions.weight", {config_.max_source_positions, size});
  }
  for (auto i = part_.first_layer; i < part_.end_layer; ++i) {
    const std::string prefix = fmt::format("{}layers.{}.", root, i);
    Layer layer;
    layer.attention =
        WhisperAttention(prefix + "self_attn.", size, config_.encoder_heads, source);
    layer.attention_norm = load_norm(source, prefix + "self_attn_layer_norm", size);
    layer.up = load_linear(source, prefix + "fc1", config_.encoder_ffn, size);
    layer.down = load_linear(source, prefix + "fc2", size, config_.encoder_ffn);
    layer.final_norm = load_norm(source, prefix + "final_layer_norm", size);
    layers_.push_back(std::move(layer));
  }
  if (final_norm) {
    final_norm_ = load_norm(source, root + "layer_norm", size);
  }
}

Tensor WhisperEncoder::convolve(const Tensor& mel) const {
  const Tensor input =
      mel.to(conv1_weight_.options().requires_grad(c10::nullopt)).transpose(1, 2);
  const Tensor first = at::gelu(convolve_by_three(input, conv1_weight_, conv1_bias_, 1));
  const Tensor second = at::gelu(convolve_by_three(first, conv2_weight_, conv2_bias_, 2));
  return second + positions_.narrow(0, 0, second.size(1));
}

Tensor WhisperEncoder::run_layer(std::int64_t index, const Tensor& hidden,
                                 const std::vector<std::int64_t>& taps,
                                 std::vector<Tensor>& tapped) const {
  const Layer& layer = layers_[static_cast<std::size_t>(index - part_.first_layer)];
  const Tensor x = layer.attention_norm(hidden);
  const Tensor attended = hidden + layer.attention.attend(layer.attention.project_query(x),
                                                          layer.attention.project_key(x),
                                                          layer.attention.project_value(x), Tensor());
  const Tensor out = attended + layer.down(at::gelu(layer.up(layer.final_norm(attended))));
  if (std::find(taps.begin(), taps.end(), index) != taps.end()) {
    tapped.push_back(out);
  }
  return out;
}

Tensor WhisperEncoder::run_layers(Tensor hidden, const std::vector<std::int64_t>& taps,
                                  std::vector<Tensor>& tapped) const {
  for (auto i = part_.first_layer; i < part_.end_layer; ++i) {
    hidden = run_layer(i, hidden, taps, tapped);
  }
  return hidden;
}

Tensor WhisperEncoder::encode(const Tensor& mel) const {
  std::vector<Tensor> none;
  return finish(run_layers(convolve(mel), {}, none));
}

Tensor whisper_sinusoids(std::int64_t length, std::int64_t channels) {
  const auto half = channels / 2;
  const double step = std::log(10000.0) / static_cast<double>(half - 1);
  const Tensor scales = at::exp(at::arange(half, at::kFloat) * -step);
  const Tensor angles = at::arange(length, at::kFloat).unsqueeze(1) * scales.unsqueeze(0);
  return at::cat({at::sin(angles), at::cos(angles)}, 1);
}

}  // namespace desta::models
