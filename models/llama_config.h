// What a Llama's config.json says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace desta::models {

// "llama3" frequency scaling of the rotary embedding (Llama 3.1 and 3.2).
struct RopeScaling {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  std::int64_t original_max_position_embeddings = 8192;
};

struct LlamaConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  double rms_norm_eps = 1e-5;
  double rope_theta = 500000.0;
  std::optional<RopeScaling> rope_scaling;
  bool tie_word_embeddings = false;
  std::int64_t max_position_embeddings = 8192;

  // Reads `folder`/config.json. Throws ModelError naming the file and the key when the architecture
  // is not LlamaForCausalLM, a key is missing, or sizes do not divide.
  [[nodiscard]] static LlamaConfig load(const std::filesystem::path& folder);
  // Writes a config.json that `load` and transformers read.
  void save(const std::filesystem::path& folder) const;

  // Parameters of one layer, of the embedding (the head has as many when it is not tied).
  [[nodiscard]] std::int64_t layer_parameters() const;
  [[nodiscard]] std::int64_t embedding_parameters() const { return vocab_size * hidden_size; }
};

}  // namespace desta::models
