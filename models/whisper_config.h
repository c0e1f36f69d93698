// What a Whisper folder's config.json, preprocessor_config.json and generation_config.json say.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace desta::models {

struct WhisperConfig {
  std::int64_t vocab_size = 0;
  std::int64_t d_model = 0;
  std::int64_t encoder_layers = 0;
  std::int64_t encoder_heads = 0;
  std::int64_t encoder_ffn = 0;
  std::int64_t decoder_layers = 0;
  std::int64_t decoder_heads = 0;
  std::int64_t decoder_ffn = 0;
  std::int64_t mel_bins = 80;
  std::int64_t max_source_positions = 1500;  // encoder frames, 20 ms each
  std::int64_t max_target_positions = 448;
  // Tokens that decoding never emits, and that it does not emit first.
  std::vector<std::int64_t> suppress_tokens;
  std::vector<std::int64_t> begin_suppress_tokens;

  // Mel frames that the encoder reads (two a position) and the audio they cover: 3000, 30 s.
  [[nodiscard]] std::int64_t mel_frames() const { return 2 * max_source_positions; }
  [[nodiscard]] double window_seconds() const { return 0.02 * static_cast<double>(max_source_positions); }

  // Throws ModelError naming the file and the key.
  [[nodiscard]] static WhisperConfig load(const std::filesystem::path& folder);
  // Writes config.json and preprocessor_config.json that `load` and transformers read.
  void save(const std::filesystem::path& folder) const;

  // Taps of DeSTA2 for this encoder, as 0-based layer outputs (see the table in the README): every
  // (layers / 4)-th layer, four in all; eight for large's 32 layers.
  [[nodiscard]] std::vector<std::int64_t> default_taps() const;
  [[nodiscard]] std::int64_t encoder_layer_parameters() const;
};

}  // namespace desta::models
