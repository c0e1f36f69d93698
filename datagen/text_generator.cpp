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
  std::vector<GenerationRequest> embedded;
  for (const auto& request : requests) {
    embedded.push_back({embed(models::text_prompt(format_, request.text)), request.seed});
  }
  return answer_embedded(embedded, options, progress);
}

std::vector<std::string> TextGenerator::answer_embedded(
    const std::vector<GenerationRequest>& requests, const DecodingOptions& options,
    const std::function<void(std::size_t)>& progress) const {
  std::vector<std::string> answers;
  for (const auto& tokens :
       generate(llama_, requests, options, format_.end_of_turn(), progress)) {
    answers.push_back(tokenizer_.decode(tokens));
    std::erase(answers.back(), '\0');
  }
  return answers;
}

}  // namespace desta::datagen
