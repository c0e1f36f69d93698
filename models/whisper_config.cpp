#include "models/whisper_config.h"

#include "models/config_file.h"
#include "runtime/core/atomic_file.h"

namespace desta::models {
using nlohmann::json;
using runtime::ModelError;

WhisperConfig WhisperConfig::load(const std::filesystem::path& folder) {
  const ConfigFile file(folder / "config.json");
  file.require_architecture("WhisperForConditionalGeneration");
  WhisperConfig config;
  config.vocab_size = file.size("vocab_size");
  config.d_model = file.size("d_model");
  config.encoder_layers = file.size("encoder_layers");
  config.encoder_heads = file.size("encoder_attention_heads");
  config.encoder_ffn = file.size("encoder_ffn_dim");
  config.decoder_layers = file.size("decoder_layers");
  config.decoder_heads = file.size("decoder_attention_heads");
  config.decoder_ffn = file.size("decoder_ffn_dim");
  config.mel_bins = file.size("num_mel_bins");
  config.max_source_positions = file.size("max_source_positions");
  config.max_target_positions = file.size("max_target_positions");
  if (config.d_model % config.encoder_heads != 0 || config.d_model % config.decoder_heads != 0) {
    throw ModelError("{}: d_model {} is not a multiple of the attention heads",
                     file.path().string(), config.d_model);
  }
  const auto generation = folder / "generation_config.json";
  const ConfigFile lists(std::filesystem::exists(generation) ? generation : file.path());
  using Tokens = std::vector<std::int64_t>;
  config.suppress_tokens = lists.get_or("suppress_tokens", Tokens{});
  config.begin_suppress_tokens = lists.get_or("begin_suppress_tokens", Tokens{});
  for (const auto* tokens : {&config.suppress_tokens, &config.begin_suppress_tokens}) {
    for (const auto token : *tokens) {
      if (token < 0 || token >= config.vocab_size) {
        throw ModelError("{}: suppressed token {} is outside the vocabulary of {}",
                         lists.path().string(), token, config.vocab_size);
      }
    }
  }
  return config;
}

void WhisperConfig::save(const std::filesystem::path& folder) const {
  const json object = {{"architectures", {"WhisperForConditionalGeneration"}},
                       {"model_type", "whisper"},
                       {"vocab_size", vocab_size},
                       {"d_model", d_model},
                       {"encoder_layers", encoder_layers},
                       {"encoder_attention_heads", encoder_heads},
                       {"encoder_ffn_dim", encoder_ffn},
                       {"decoder_layers", decoder_layers},
                       {"decoder_attention_heads", decoder_heads},
                       {"decoder_ffn_dim", decoder_ffn},
                       {"num_mel_bins", mel_bins},
                       {"max_source_positions", max_source_positions},
                       {"max_target_positions", max_target_positions},
                       {"activation_function", "gelu"},
                       {"scale_embedding", false},
                       {"torch_dtype", "bfloat16"}};
  runtime::write_file_atomically(folder / "config.json", object.dump(2) + "\n");
  const json front_end = {{"feature_extractor_type", "WhisperFeatureExtractor"},
                          {"processor_class", "WhisperProcessor"},
                          {"feature_size", mel_bins},
                          {"sampling_rate", 16000},
                          {"hop_length", 160},
                          {"n_fft", 400},
                          {"chunk_length", static_cast<std::int64_t>(window_seconds())},
                          {"n_samples", mel_frames() * 160},
                          {"nb_max_frames", mel_frames()},
                          {"padding_side", "right"},
                          {"padding_value", 0.0},
                          {"return_attention_mask", false}};
  runtime::write_file_atomically(folder / "preprocessor_config.json", front_end.dump(2) + "\n");
}

std::vector<std::int64_t> WhisperConfig::default_taps() const {
  const std::int64_t count = encoder_layers >= 32 ? 8 : std::min<std::int64_t>(4, encoder_layers);
  std::vector<std::int64_t> taps;
  for (std::int64_t i = 1; i <= count; ++i) {
    taps.push_back(i * encoder_layers / count - 1);
  }
  return taps;
}

std::int64_t WhisperConfig::encoder_layer_parameters() const {
  return 4 * d_model * d_model + 3 * d_model + 2 * d_model * encoder_ffn + encoder_ffn + d_model +
         4 * d_model;
}

}  // namespace desta::models
