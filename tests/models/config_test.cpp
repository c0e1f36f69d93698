#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "model_fixtures.h"
#include "models/llama_config.h"
#include "models/whisper_config.h"

namespace desta::models {
namespace {

using nlohmann::json;

// A good config.json with one key replaced (or, for the value "absent", taken out).
struct BadConfig {
  std::string name;
  std::string key;
  std::string value;  // JSON
  std::string says;
};

void PrintTo(const BadConfig& bad, std::ostream* out) { *out << bad.name; }

std::string altered(const std::string& model, const BadConfig& bad) {
  json config = json::parse(read_file(fixture(model) / "config.json"));
  if (bad.value == "absent") {
    config.erase(bad.key);
  } else {
    config[bad.key] = json::parse(bad.value);
  }
  return config.dump();
}

class BadLlamaConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(BadLlamaConfig, IsAModelErrorThatNamesFileAndKey) {
  const ScratchFolder folder;
  const auto path = folder.write("config.json", altered("llama-tied", GetParam()));
  expect_model_error([&] { (void)LlamaConfig::load(folder.path()); },
                     {path.string(), GetParam().says});
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadLlamaConfig,
    testing::Values(
        BadConfig{"OtherArchitecture", "architectures", R"(["MistralForCausalLM"])", "Mistral"},
        BadConfig{"NoArchitecture", "architectures", "[]", "LlamaForCausalLM"},
        BadConfig{"NoSize", "hidden_size", "absent", "'hidden_size' is missing"},
        BadConfig{"SizeIsNull", "hidden_size", "null", "'hidden_size' is missing"},
        BadConfig{"SizeIsText", "vocab_size", "\"many\"", "'vocab_size'"},
        BadConfig{"SizeIsZero", "num_hidden_layers", "0", "'num_hidden_layers'"},
        BadConfig{"SizeIsNegative", "num_attention_heads", "-4", "'num_attention_heads'"},
        BadConfig{"HeadsDoNotDivideTheSize", "num_attention_heads", "6", "64 is not a multiple"},
        BadConfig{"KeyHeadsDoNotDivideTheHeads", "num_key_value_heads", "3", "multiple"},
        BadConfig{"OddHead", "head_dim", "15", "even"},
        BadConfig{"NegativeHead", "head_dim", "-16", "positive"},
        BadConfig{"OtherRope", "rope_scaling", R"({"rope_type":"yarn","factor":4})", "yarn"},
        BadConfig{"RopeIsText", "rope_scaling", "\"llama3\"", "'rope_scaling'"},
        BadConfig{"RopeFactorIsText", "rope_scaling",
                  R"({"rope_type":"llama3","factor":"8","low_freq_factor":1,"high_freq_factor":4,
                      "original_max_position_embeddings":8192})",
                  "'rope_scaling'"},
        BadConfig{"RopeLacksAKey", "rope_scaling", R"({"rope_type":"llama3","factor":8})",
                  "low_freq_factor"},
        BadConfig{"ThetaIsText", "rope_theta", "\"x\"", "rope_theta"},
        BadConfig{"Biases", "attention_bias", "true", "attention_bias"}),
    [](const auto& info) { return info.param.name; });

class BadWhisperConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(BadWhisperConfig, IsAModelErrorThatNamesFileAndKey) {
  const ScratchFolder folder;
  const auto path = folder.write("config.json", altered("whisper-80", GetParam()));
  expect_model_error([&] { (void)WhisperConfig::load(folder.path()); },
                     {path.string(), GetParam().says});
}

INSTANTIATE_TEST_SUITE_P(
    Cases, BadWhisperConfig,
    testing::Values(
        BadConfig{"OtherArchitecture", "architectures", R"(["Wav2Vec2Model"])", "Wav2Vec2Model"},
        BadConfig{"NoMelBins", "num_mel_bins", "absent", "'num_mel_bins' is missing"},
        BadConfig{"LayersAreText", "encoder_layers", "\"3\"", "'encoder_layers'"},
        BadConfig{"HeadsDoNotDivide", "encoder_attention_heads", "5", "multiple"},
        BadConfig{"SuppressesWhatIsNotThere", "suppress_tokens", "[320]", "320"},
        BadConfig{"SuppressesText", "suppress_tokens", R"(["a"])", "'suppress_tokens'"}),
    [](const auto& info) { return info.param.name; });

TEST(ConfigFile, SaysThatItIsMissingOrNotJson) {
  const ScratchFolder folder;
  const std::string path = (folder.path() / "config.json").string();
  expect_model_error([&] { (void)LlamaConfig::load(folder.path()); }, {path, "cannot read"});
  for (const char* bad : {"", "{\"a\":", "not json"}) {
    folder.write("config.json", bad);
    expect_model_error([&] { (void)LlamaConfig::load(folder.path()); }, {path, "not valid JSON"});
  }
  folder.write("config.json", "[1]");
  expect_model_error([&] { (void)LlamaConfig::load(folder.path()); }, {path, "not a JSON object"});
}

TEST(LlamaConfig, ReadsTheRotarySettingsOfTransformers5) {
  const ScratchFolder folder;
  json config = json::parse(read_file(fixture("llama-scaled") / "config.json"));
  const LlamaConfig old = LlamaConfig::load(fixture("llama-scaled"));
  config["rope_parameters"] = config.at("rope_scaling");
  config["rope_parameters"]["rope_theta"] = config.at("rope_theta");
  config.erase("rope_scaling");
  config.erase("rope_theta");
  folder.write("config.json", config.dump());
  const LlamaConfig moved = LlamaConfig::load(folder.path());
  EXPECT_EQ(moved.rope_theta, old.rope_theta);
  ASSERT_TRUE(moved.rope_scaling.has_value());
  EXPECT_EQ(moved.rope_scaling->factor, 4.0);
  EXPECT_EQ(moved.rope_scaling->original_max_position_embeddings, 64);
}

TEST(LlamaConfig, GivesBackWhatWasSaved) {
  const ScratchFolder folder;
  for (const char* name : {"llama-untied", "llama-scaled"}) {
    const LlamaConfig saved = LlamaConfig::load(fixture(name));
    saved.save(folder.path());
    const LlamaConfig loaded = LlamaConfig::load(folder.path());
    EXPECT_EQ(loaded.num_kv_heads, saved.num_kv_heads);
    EXPECT_EQ(loaded.head_dim, saved.head_dim);
    EXPECT_EQ(loaded.rope_theta, saved.rope_theta);
    EXPECT_EQ(loaded.rms_norm_eps, saved.rms_norm_eps);
    EXPECT_EQ(loaded.tie_word_embeddings, saved.tie_word_embeddings);
    EXPECT_EQ(loaded.rope_scaling.has_value(), saved.rope_scaling.has_value());
  }
}

TEST(WhisperConfig, GivesBackWhatWasSaved) {
  const ScratchFolder folder;
  const WhisperConfig saved = WhisperConfig::load(fixture("whisper-128"));
  saved.save(folder.path());
  const WhisperConfig loaded = WhisperConfig::load(folder.path());
  EXPECT_EQ(loaded.mel_bins, 128);
  EXPECT_EQ(loaded.encoder_ffn, saved.encoder_ffn);
  EXPECT_EQ(loaded.max_source_positions, 100);
  EXPECT_EQ(loaded.window_seconds(), 2.0);
  const json front_end = json::parse(read_file(folder.path() / "preprocessor_config.json"));
  EXPECT_EQ(front_end.at("n_samples"), 32000);
}

}  // namespace
}  // namespace desta::models
