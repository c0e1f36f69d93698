#include "datagen/text_generator.h"

namespace desta::datagen {

TextGenerator::TextGenerator(const std::string& folder, at::ScalarType precision, at::Device device,
                             const models::Lora* lora)
    : config_(models::LlamaConfig::load(folder)),
      folder_(folder, precision, device),
      llama_(config_, models::LlamaPart::whole(config_), folder_, lora),
      tokenizer_(folder),
      format_(tokenizer_) {}

at::Tensor TextGenerator::embed(const std::vector<models::TokenId>& tokens) const {
  const at::NoGradGuard no_grad;
  return llama_.embed(at::tensor(tokens, at::kLong));
}

std::vector<std::string> TextGenerator::answer(
    const std::vector<TextRequest>& requests, const DecodingOptions& options,
    const std::function<void(std::size_t)>& progress) const {
  std::vector<GenerationRequest> prompts;
  for (const auto& request : requests) {
    prompts.push_back({.seed = request.seed, .tokens = models::text_prompt(format_, request.text)});
  }
  return answer_prompts(prompts, options, progress);
}

std::vector<std::string> TextGenerator::answer_prompts(
    const std::vector<GenerationRequest>& requests, const DecodingOptions& options,
    const std::function<void(std::size_t)>& progress) const {
  auto answers = generate(llama_, tokenizer_, format_.end_of_turn(), requests, options, progress);
  for (auto& answer : answers) {
    std::erase(answer, '\0');
  }
  return answers;
}

}  // namespace desta::datagen
