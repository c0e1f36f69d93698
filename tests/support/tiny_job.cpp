#include "support/tiny_job.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <numbers>

#include "datagen/audio_file.h"
#include "datagen/dataset.h"
#include "datagen/manifest.h"
#include "models/llama.h"
#include "models/safetensors.h"
#include "models/split_pattern.h"
#include "models/tokenizer.h"
#include "models/tokenizer_trainer.h"
#include "models/whisper.h"

namespace desta::tests {
namespace fs = std::filesystem;

namespace {

constexpr int kRows = 24;

const std::vector<std::string> kSentences = {"The bird sings.", "A cat sleeps on the warm stone.",
                                             "Rain falls.", "Nine ships sail to the north today."};

void write_llm(const fs::path& folder) {
  models::train_tokenizer({"The bird sings. A cat sleeps on the warm stone. Rain falls today.",
                           "What can you hear from the audio? user assistant audio system"},
                          {models::kLlama3Pattern,
                           300,
                           {"<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                            "<|end_header_id|>", "<|eot_id|>"}},
                          folder);
  models::LlamaConfig config;
  config.vocab_size = models::Tokenizer(folder).vocab_size();
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_layers = 4;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 256;
  config.save(folder);
  models::TensorMap tensors;
  models::RandomSource random(tensors, 11, 0.2);
  (void)models::Llama(config, models::LlamaPart::whole(config), random);
  models::save_safetensors(folder / "model.safetensors", tensors);
}

void write_speech(const fs::path& folder) {
  models::train_tokenizer({" The bird sings. A cat sleeps."},
                          {models::kGpt2Pattern,
                           280,
                           {"<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>",
                            "<|notimestamps|>"}},
                          folder);
  models::WhisperConfig config;
  config.vocab_size = models::Tokenizer(folder).vocab_size();
  config.d_model = 16;
  config.encoder_layers = 4;
  config.encoder_heads = 2;
  config.encoder_ffn = 32;
  config.decoder_layers = 1;
  config.decoder_heads = 2;
  config.decoder_ffn = 32;
  config.max_source_positions = 50;
  config.max_target_positions = 24;
  config.save(folder);
  models::TensorMap tensors;
  models::RandomSource random(tensors, 12, 0.2);
  (void)models::WhisperEncoder(config, models::EncoderPart::whole(config), random, true);
  (void)models::WhisperDecoder(config, random);
  models::save_safetensors(folder / "model.safetensors", tensors);
}

void write_data(const fs::path& folder) {
  datagen::DatasetWriter writer(folder / "data/dataset/train", 10);
  std::vector<datagen::ManifestRow> manifest;
  for (int i = 0; i < kRows; ++i) {
    datagen::Waveform wave;
    const auto samples = static_cast<std::size_t>(8000 + 400 * i);
    for (std::size_t t = 0; t < samples; ++t) {
      const double phase = 2.0 * std::numbers::pi * (150.0 + 20.0 * i) * static_cast<double>(t);
      wave.samples.push_back(static_cast<float>(0.3 * std::sin(phase / 16000.0)));
    }
    const fs::path audio = folder / "audio" / fmt::format("{:02}.wav", i);
    fs::create_directories(audio.parent_path());
    datagen::write_wav(audio, wave);
    datagen::Row row;
    row.id = fmt::format("{:016x}", i);
    row.audio_filepath = audio.string();
    row.transcription = kSentences[static_cast<std::size_t>(i) % kSentences.size()];
    row.prompt = "What can you hear from the audio?";
    row.response = fmt::format("A tone. {}",
                               kSentences[static_cast<std::size_t>(i * 7 + 1) % kSentences.size()]);
    row.metadata_json = "[]";
    row.generator = "tiny";
    row.duration = wave.seconds();
    writer.append(row);
    datagen::ManifestRow line;
    line.id = row.id;
    line.audio = audio;
    line.duration = row.duration;
    line.transcription = row.transcription;
    line.fields["gender"] = i % 2 == 0 ? "Male" : "Female";
    manifest.push_back(std::move(line));
  }
  writer.finish();
  datagen::write_manifest(folder / "manifest.jsonl", manifest);
}

}  // namespace

trainer::TrainingOptions make_tiny_job(const fs::path& folder) {
  write_llm(folder / "llm");
  write_speech(folder / "speech");
  write_data(folder);
  return tiny_options(folder);
}

trainer::TrainingOptions tiny_options(const fs::path& folder) {
  trainer::TrainingOptions options;
  options.folder = (folder / "run").string();
  options.models = {(folder / "speech").string(), (folder / "llm").string(), "float32"};
  options.adapter.queries = 3;
  options.adapter.ffn = 24;
  options.adapter.dropout = 0.0;
  options.dataset = (folder / "data/dataset/train").string();
  options.batch = {.global_size = 8, .micro_size = 2, .max_text_tokens = 200};
  options.epochs = 2;
  options.optimizer.learning_rate = 1e-2;
  options.optimizer.warmup_steps = 2;
  options.checkpoint = {.every = 2, .keep = 0};
  options.validate_every = 0;
  return options;
}

fs::path write_tiny_config(const fs::path& folder) {
  const trainer::TrainingOptions options = make_tiny_job(folder);
  const fs::path path = folder / "tiny.yaml";
  std::ofstream(path) << fmt::format(
      "run: {{folder: {}, seed: 3}}\n"
      "models: {{speech: {}, llm: {}, precision: float32}}\n"
      "adapter: {{queries: 3, ffn: 24, dropout: 0.1}}\n"
      "data:\n  folder: {}\n  train_manifest: {}\n"
      "generation: {{max_new_tokens: 12, batch_size: 8}}\n"
      "pipeline: {{stages: 1, costs: counted}}\n"
      "batch: {{global_size: 8, micro_size: 2}}\n"
      "training: {{epochs: 2, validate_every: 0}}\n"
      "optimizer: {{learning_rate: 0.01, warmup_steps: 2}}\n"
      "checkpoint: {{every: 1, keep: 0}}\n"
      "evaluation: {{manifests: [{}], tasks: [gender, words], max_new_tokens: 8, "
      "retention_rows: 2}}\n",
      options.folder, options.models.speech, options.models.llm, (folder / "data").string(),
      (folder / "manifest.jsonl").string(), (folder / "manifest.jsonl").string());
  return path;
}

fs::path fresh_folder(const std::string& name) {
  const fs::path folder =
      fs::temp_directory_path() / fmt::format("desta-test-{}-{}", name, ::getpid());
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

}  // namespace desta::tests
