#include "trainer/speech_language_model.h"

#include <algorithm>
#include <filesystem>

#include "models/torch_util.h"
#include "runtime/core/error.h"
#include "trainer/training_layout.h"

namespace desta::trainer {
namespace fs = std::filesystem;

namespace {

// Clips that go through Whisper at a time.
constexpr std::size_t kHearingBatch = 16;

// The adapter and what lies beside it.
models::TensorMap learned_beside(const fs::path& adapter, at::Device device) {
  models::TensorMap all = models::load_safetensors(adapter);
  for (const char* name : {"lora.safetensors", "encoder.safetensors"}) {
    if (const fs::path file = adapter.parent_path() / name; fs::exists(file)) {
      all.merge(models::load_safetensors(file));
    }
  }
  for (auto& [name, tensor] : all) {
    tensor = tensor.to(device);
  }
  return all;
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \n");
  const auto last = text.find_last_not_of(" \n");
  return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

}  // namespace

SpeechLanguageModel::SpeechLanguageModel(const TrainingOptions& options, const std::string& adapter)
    : whisper_(models::WhisperConfig::load(options.models.speech)),
      device_(models::choose_device(options.models.device, options.models.local_rank)),
      speech_folder_(options.models.speech, models::parse_precision(options.models.precision),
                     device_),
      encoder_(whisper_, models::EncoderPart::whole(whisper_), speech_folder_, true),
      decoder_(whisper_, speech_folder_),
      log_mel_(whisper_.mel_bins, whisper_.mel_frames()),
      speech_tokenizer_(options.models.speech),
      parameters_(learned_beside(adapter, device_)) {
  const auto precision = models::parse_precision(options.models.precision);
  models::MapSource source(parameters_);
  const fs::path lora_file = fs::path(adapter).parent_path() / "lora.safetensors";
  if (fs::exists(lora_file)) {
    const models::Lora lora(source, models::lora_config_of(lora_file));
    text_.emplace(options.models.llm, precision, device_, &lora);
  } else {
    text_.emplace(options.models.llm, precision, device_);
  }
  if (std::any_of(parameters_.begin(), parameters_.end(),
                  [](const auto& entry) { return entry.first.starts_with("model.encoder."); })) {
    models::OverlaySource overlay(parameters_, speech_folder_);
    trained_encoder_.emplace(whisper_, models::EncoderPart::whole(whisper_), overlay);
  }
  try {
    adapter_.emplace(read_shapes(options).adapter, source, precision);
  } catch (const runtime::ModelError& error) {
    throw runtime::ModelError("{}: {}; is it of another adapter or model?", adapter, error.what());
  }
}

std::vector<std::string> SpeechLanguageModel::transcribe(const Tensor& mel) const {
  const std::vector<models::TokenId> start = {
      speech_tokenizer_.require("<|startoftranscript|>"), speech_tokenizer_.require("<|en|>"),
      speech_tokenizer_.require("<|transcribe|>"), speech_tokenizer_.require("<|notimestamps|>")};
  std::vector<std::string> texts;
  const auto rows =
      models::transcribe(encoder_, decoder_, mel, start, speech_tokenizer_.require("<|endoftext|>"),
                         whisper_.max_target_positions);
  for (const auto& row : rows) {
    texts.push_back(trimmed(speech_tokenizer_.decode(row)));
  }
  return texts;
}

std::vector<Heard> SpeechLanguageModel::hear(
    const std::vector<datagen::Waveform>& recordings) const {
  const at::NoGradGuard no_grad;
  std::vector<Heard> heard;
  for (std::size_t begin = 0; begin < recordings.size(); begin += kHearingBatch) {
    const auto end = std::min(recordings.size(), begin + kHearingBatch);
    std::vector<Tensor> mels;
    for (std::size_t i = begin; i < end; ++i) {
      mels.push_back(log_mel_(recordings[i].samples));
    }
    const Tensor mel = at::stack(mels).to(device_);
    std::vector<Tensor> tapped;
    const models::WhisperEncoder& ears = trained_encoder_ ? *trained_encoder_ : encoder_;
    (void)ears.run_layers(ears.convolve(mel), adapter_->config().taps, tapped);
    const Tensor speech = adapter_->forward(tapped);
    const auto texts = transcribe(mel);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      heard.push_back({texts[i], speech[static_cast<std::int64_t>(i)]});
    }
  }
  return heard;
}

datagen::GenerationRequest SpeechLanguageModel::prompt(const Heard& heard,
                                                       std::string_view question,
                                                       std::string_view system) const {
  const auto prompt = models::speech_prompt(text_->format(), text_->tokenizer(), system,
                                            heard.transcription, question);
  if (!heard.speech.defined()) {
    return {.tokens = prompt.tokens};
  }
  const Tensor words = text_->embed(prompt.tokens);
  const auto behind = words.size(0) - prompt.speech_at;
  return {.embeddings = at::cat({words.narrow(0, 0, prompt.speech_at),
                                 heard.speech.to(words.scalar_type()),
                                 words.narrow(0, prompt.speech_at, behind)})};
}

}  // namespace desta::trainer
