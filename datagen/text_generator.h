// The frozen text LLM as a writer: prompts of text in, answers out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "datagen/generation.h"
#include "models/chat_format.h"
#include "models/llama.h"
#include "models/safetensors.h"

namespace desta::datagen {

struct TextRequest {
  std::string text;  // the whole user turn
  std::uint64_t seed = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(text, seed);
  }
};

class TextGenerator {
 public:
  // Loads a whole Llama from its Hugging Face folder, with low-rank updates if there are any. Throws
  // ModelError.
  TextGenerator(const std::string& folder, at::ScalarType precision, at::Device device = at::kCPU,
                const models::Lora* lora = nullptr);

  // Answers to single user turns without a system turn, as DeSTA2's generator is asked. Zero bytes
  // are left out, as a dataset's strings cannot hold them.
  [[nodiscard]] std::vector<std::string> answer(
      const std::vector<TextRequest>& requests, const DecodingOptions& options,
      const std::function<void(std::size_t)>& progress = {}) const;

  // Answers to prompts that are tokens or embedded already.
  [[nodiscard]] std::vector<std::string> answer_prompts(
      const std::vector<GenerationRequest>& requests, const DecodingOptions& options,
      const std::function<void(std::size_t)>& progress = {}) const;

  // Embeddings of tokens: [time, hidden].
  [[nodiscard]] at::Tensor embed(const std::vector<models::TokenId>& tokens) const;

  [[nodiscard]] const models::Tokenizer& tokenizer() const { return tokenizer_; }
  [[nodiscard]] const models::ChatFormat& format() const { return format_; }
  [[nodiscard]] const models::LlamaConfig& config() const { return config_; }

 private:
  models::LlamaConfig config_;
  models::ModelFolder folder_;
  models::Llama llama_;
  models::Tokenizer tokenizer_;
  models::ChatFormat format_;
};

}  // namespace desta::datagen
