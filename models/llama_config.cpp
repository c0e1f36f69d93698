#include "models/llama_config.h"

#include "models/config_file.h"
#include "runtime/core/atomic_file.h"

namespace desta::models {
using nlohmann::json;
using runtime::ModelError;

namespace {

// The rotary settings; transformers 5 moved them into one object.
void read_rope(const ConfigFile& file, LlamaConfig& config) {
  const char* key = file.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const json rope = file.get_or(key, json::object());
  const std::string where = fmt::format("{}: key '{}'", file.path().string(), key);
  try {
    config.rope_theta = rope.value("rope_theta", file.get_or("rope_theta", 10000.0));
    const std::string type = rope.value("rope_type", rope.value("type", std::string("default")));
    if (type == "llama3") {
      RopeScaling scaling;
      scaling.factor = rope.at("factor").get<double>();
      scaling.low_freq_factor = rope.at("low_freq_factor").get<double>();
      scaling.high_freq_factor = rope.at("high_freq_factor").get<double>();
      scaling.original_max_position_embeddings =
          rope.at("original_max_position_embeddings").get<std::int64_t>();
      config.rope_scaling = scaling;
    } else if (type != "default") {
      throw ModelError("{}: rope type '{}' is not supported; use default or llama3", where, type);
    }
  } catch (const json::exception& error) {
    throw ModelError("{}: {}", where, error.what());
  }
}

}  // namespace

LlamaConfig LlamaConfig::load(const std::filesystem::path& folder) {
  const ConfigFile file(folder / "config.json");
  file.require_architecture("LlamaForCausalLM");
  LlamaConfig config;
  config.vocab_size = file.size("vocab_size");
  config.hidden_size = file.size("hidden_size");
  config.intermediate_size = file.size("intermediate_size");
  config.num_layers = file.size("num_hidden_layers");
  config.num_heads = file.size("num_attention_heads");
  config.num_kv_heads = file.get_or("num_key_value_heads", config.num_heads);
  if (!file.has("head_dim") && config.hidden_size % config.num_heads != 0) {
    throw ModelError("{}: hidden_size {} is not a multiple of num_attention_heads {}",
                     file.path().string(), config.hidden_size, config.num_heads);
  }
  config.head_dim = file.get_or("head_dim", config.hidden_size / config.num_heads);
  config.rms_norm_eps = file.get_or("rms_norm_eps", 1e-6);  // transformers' default
  config.tie_word_embeddings = file.get_or("tie_word_embeddings", false);
  config.max_position_embeddings =
      file.has("max_position_embeddings") ? file.size("max_position_embeddings") : 2048;
  read_rope(file, config);
  if (file.get_or("attention_bias", false) || file.get_or("mlp_bias", false)) {
    throw ModelError("{}: attention_bias and mlp_bias are not supported", file.path().string());
  }
  if (config.num_kv_heads <= 0 || config.num_heads % config.num_kv_heads != 0) {
    throw ModelError("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}",
                     file.path().string(), config.num_heads, config.num_kv_heads);
  }
  if (config.head_dim <= 0 || config.head_dim % 2 != 0) {
    throw ModelError("{}: head_dim {} must be positive and even for rotary embedding",
                     file.path().string(), config.head_dim);
  }
  return config;
}

void LlamaConfig::save(const std::filesystem::path& folder) const {
  json object = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"vocab_size", vocab_size},
                 {"hidden_size", hidden_size},
                 {"intermediate_size", intermediate_size},
                 {"num_hidden_layers", num_layers},
                 {"num_attention_heads", num_heads},
                 {"num_key_value_heads", num_kv_heads},
                 {"head_dim", head_dim},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", rms_norm_eps},
                 {"rope_theta", rope_theta},
                 {"tie_word_embeddings", tie_word_embeddings},
                 {"max_position_embeddings", max_position_embeddings},
                 {"attention_bias", false},
                 {"mlp_bias", false},
                 {"torch_dtype", "bfloat16"}};
  if (rope_scaling.has_value()) {
    object["rope_scaling"] = {
        {"rope_type", "llama3"},
        {"factor", rope_scaling->factor},
        {"low_freq_factor", rope_scaling->low_freq_factor},
        {"high_freq_factor", rope_scaling->high_freq_factor},
        {"original_max_position_embeddings", rope_scaling->original_max_position_embeddings}};
  }
  runtime::write_file_atomically(folder / "config.json", object.dump(2) + "\n");
}

std::int64_t LlamaConfig::layer_parameters() const {
  const std::int64_t attention = hidden_size * head_dim * (2 * num_heads + 2 * num_kv_heads);
  return attention + 3 * hidden_size * intermediate_size + 2 * hidden_size;
}

}  // namespace desta::models
