// The finished product: Whisper, adapter and LLM together, listening to audio and answering.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "datagen/text_generator.h"
#include "datagen/waveform.h"
#include "models/log_mel.h"
#include "models/qformer.h"
#include "models/whisper.h"
#include "trainer/options.h"

namespace desta::trainer {

using at::Tensor;

// What was heard in one recording.
struct Heard {
  std::string transcription;  // Whisper's own
  Tensor speech;              // [queries, d_llm]
};

class SpeechLanguageModel {
 public:
  // `adapter`: an adapter.safetensors. What else was learned with it lies beside it, as a checkpoint
  // has it: lora.safetensors, encoder.safetensors. Throws ModelError.
  SpeechLanguageModel(const TrainingOptions& options, const std::string& adapter);

  // Listens to recordings of 16 kHz, each cut or padded to Whisper's window.
  [[nodiscard]] std::vector<Heard> hear(const std::vector<datagen::Waveform>& recordings) const;

  // A prompt with speech vectors in front of the transcription; without `heard.speech` (undefined)
  // the transcription alone.
  [[nodiscard]] datagen::GenerationRequest prompt(const Heard& heard, std::string_view question,
                                                  std::string_view system = "") const;

  [[nodiscard]] const datagen::TextGenerator& text() const { return *text_; }

 private:
  std::vector<std::string> transcribe(const Tensor& mel) const;

  models::WhisperConfig whisper_;
  at::Device device_;
  models::ModelFolder speech_folder_;
  models::WhisperEncoder encoder_;  // for the words: frozen
  models::WhisperDecoder decoder_;
  models::LogMel log_mel_;
  models::Tokenizer speech_tokenizer_;
  models::TensorMap parameters_;  // all that was learned
  std::optional<datagen::TextGenerator> text_;
  std::optional<models::QFormer> adapter_;
  std::optional<models::WhisperEncoder> trained_encoder_;  // for the taps, where its layers have learned
};

}  // namespace desta::trainer
