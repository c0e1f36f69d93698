// Whisper's encoder and decoder (Radford et al. 2022). Parameter names are those of transformers'
// WhisperForConditionalGeneration.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "models/fused.h"
#include "models/kv_cache.h"
#include "models/tensor_source.h"
#include "models/whisper_config.h"

namespace desta::models {

struct Linear {
  Tensor weight;  // [out, in]
  Tensor bias;    // [out], or undefined
  // In x's type; weights that learn are kept in float32.
  [[nodiscard]] Tensor operator()(const Tensor& x) const {
    const auto type = x.scalar_type();
    return weight.scalar_type() == type
               ? at::linear(x, weight, bias)
               : at::linear(x, weight.to(type), bias.defined() ? bias.to(type) : bias);
  }
};

struct Norm {
  Tensor weight;
  Tensor bias;
  double eps = 1e-5;
  [[nodiscard]] Tensor operator()(const Tensor& x) const {
    const auto type = x.scalar_type();
    return weight.scalar_type() == type ? layer_norm(x, weight, bias, eps)
                                        : layer_norm(x, weight.to(type), bias.to(type), eps);
  }
};

// Whisper's attention: no bias on the keys.
struct WhisperAttention {
  WhisperAttention() = default;
  WhisperAttention(const std::string& prefix, std::int64_t size, std::int64_t heads,
                   TensorSource& source);
  [[nodiscard]] Tensor project_query(const Tensor& x) const;
  [[nodiscard]] Tensor project_key(const Tensor& x) const;
  [[nodiscard]] Tensor project_value(const Tensor& x) const;
  // q, k, v: [batch, heads, time, head_dim] -> [batch, time, size].
  [[nodiscard]] Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v,
                              const Tensor& bias) const;

 private:
  std::int64_t heads_ = 0;
  Linear query_, key_, value_, output_;
};

// A contiguous run of the encoder: what one pipeline stage holds.
struct EncoderPart {
  std::int64_t first_layer = 0;
  std::int64_t end_layer = 0;  // one past the last
  bool front = false;          // the two convolutions and the positions

  [[nodiscard]] static EncoderPart whole(const WhisperConfig& config) {
    return {0, config.encoder_layers, true};
  }
};

class WhisperEncoder {
 public:
  // `final_norm`: also load the closing LayerNorm, which the decoder's input needs and taps do not.
  WhisperEncoder(WhisperConfig config, EncoderPart part, TensorSource& source,
                 bool final_norm = false);

  [[nodiscard]] const WhisperConfig& config() const { return config_; }

  // Log-mel [batch, mel_bins, 2 * positions] -> [batch, positions, d_model]. Needs `front`.
  [[nodiscard]] Tensor convolve(const Tensor& mel) const;
  // Runs this part's layers over [batch, positions, d_model]. The output of every layer that is
  // listed in `taps` (0-based) is appended to `tapped`.
  [[nodiscard]] Tensor run_layers(Tensor hidden, const std::vector<std::int64_t>& taps,
                                  std::vector<Tensor>& tapped) const;
  // The same of one layer, numbered in the whole encoder.
  [[nodiscard]] Tensor run_layer(std::int64_t index, const Tensor& hidden,
                                 const std::vector<std::int64_t>& taps,
                                 std::vector<Tensor>& tapped) const;
  [[nodiscard]] Tensor finish(const Tensor& hidden) const { return final_norm_(hidden); }
  // All of it: [batch, mel_bins, frames] -> [batch, positions, d_model], normalised.
  [[nodiscard]] Tensor encode(const Tensor& mel) const;

 private:
  struct Layer {
    WhisperAttention attention;
    Norm attention_norm;
    Linear up, down;
    Norm final_norm;
  };
  WhisperConfig config_;
  EncoderPart part_;
  Tensor conv1_weight_, conv1_bias_, conv2_weight_, conv2_bias_, positions_;
  std::vector<Layer> layers_;
  Norm final_norm_;
};

class WhisperDecoder {
 public:
  WhisperDecoder(WhisperConfig config, TensorSource& source);

  // Keys and values of the encoder's output, one pair a layer; computed once for an utterance.
  using CrossKeys = std::vector<std::pair<Tensor, Tensor>>;
  [[nodiscard]] CrossKeys cross_keys(const Tensor& encoded) const;

  // tokens [batch, time] -> logits [batch, time, vocab_size], each position seeing those before it.
  [[nodiscard]] Tensor logits(const Tensor& tokens, const CrossKeys& cross) const;

  [[nodiscard]] KvCache make_cache(std::int64_t batch) const;
  // One step of decoding: tokens [batch, time] behind the cached ones -> logits [batch, vocab_size]
  // of the last position, float32.
  [[nodiscard]] Tensor step(const Tensor& tokens, const CrossKeys& cross, KvCache& cache) const;

 private:
  struct Layer {
    WhisperAttention self, cross;
    Norm self_norm, cross_norm;
    Linear up, down;
    Norm final_norm;
  };
  [[nodiscard]] Tensor run(const Tensor& tokens, const Tensor& positions, const CrossKeys& cross,
                           const Tensor& bias, KvCache* cache) const;

  WhisperConfig config_;
  Tensor embedding_, positions_;
  std::vector<Layer> layers_;
  Norm final_norm_;
};

// Sinusoids that Whisper's encoder adds to its frames: [length, channels] float32.
[[nodiscard]] Tensor whisper_sinusoids(std::int64_t length, std::int64_t channels);

// Greedy transcription of a batch. mel: [batch, mel_bins, frames]; prompt: the start tokens
// (<|startoftranscript|> and its language, task and timestamp choices); decoding of a row ends at
// `end_token` or after max_tokens. Returns each row's tokens without prompt and end.
[[nodiscard]] std::vector<std::vector<std::int64_t>> transcribe(
    const WhisperEncoder& encoder, const WhisperDecoder& decoder, const Tensor& mel,
    const std::vector<std::int64_t>& prompt, std::int64_t end_token, std::int64_t max_tokens);

}  // namespace desta::models
