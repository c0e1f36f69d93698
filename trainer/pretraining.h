// Training whole small models from scratch: how the stand-ins in models/stand-ins/ were made. Runs on
// one core, saves as it goes, resumes where it was, and depends on its seed alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "models/tensor_source.h"
#include "trainer/flat_parameters.h"
#include "trainer/optimizer.h"

namespace desta::trainer {

struct PretrainOptions {
  std::filesystem::path output;    // the Hugging Face folder to write at the end
  std::filesystem::path work;      // where the state is saved on the way
  std::uint64_t seed = 1;
  std::int64_t steps = 0;
  std::int64_t save_every = 200;
  std::int64_t evaluate_every = 1000;  // and at the end; 0: never
  std::int64_t batch_size = 32;
  // Betas of DeSTA2's recipe; the rate is the usual one for models of a few million parameters.
  OptimizerOptions optimizer{.learning_rate = 1e-3, .warmup_steps = 300};
};

// What differs between the two models.
struct PretrainTask {
  std::string name;
  models::TensorMap initial;
  // Loss of step `step` with these float32 parameters; its backward pass fills their gradients.
  std::function<at::Tensor(std::int64_t step, const models::TensorMap& parameters)> loss;
  // One line on quality now.
  std::function<std::string(const models::TensorMap& parameters)> evaluate;
};

// Runs or resumes the task and returns the trained parameters.
// Throws ModelError, naming the file, when `work` holds the state of another task or is damaged.
[[nodiscard]] models::TensorMap pretrain(const PretrainTask& task, const PretrainOptions& options);

// The parameters in another precision; gradients flow back through the cast.
[[nodiscard]] models::TensorMap cast(const models::TensorMap& parameters, at::ScalarType precision);

// Writes bfloat16 weights as `folder`/model.safetensors, atomically.
void export_weights(const models::TensorMap& parameters, const std::filesystem::path& folder);

// Trains a Llama-layout instruct model on dialogues about seed transcripts (instruction_corpus.h).
void pretrain_language_model(const PretrainOptions& options);

// Trains a Whisper on synthetic English speech: cross-entropy of the decoder, plus a CTC loss on the
// encoder (Watanabe et al. 2017) whose head is dropped at the end; it makes alignment start early.
void pretrain_speech_model(const PretrainOptions& options);

}  // namespace desta::trainer
