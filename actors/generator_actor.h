// The actor that writes responses: a whole frozen LLM on its rank.
#pragma once

#include <string>
#include <vector>

#include "datagen/text_generator.h"

namespace desta::actors {

class GeneratorActor {
 public:
  // `llm`: a Hugging Face folder; `precision`: "float32" or "bfloat16". The decoding settings are
  // this process's resource.
  GeneratorActor(const std::string& llm, const std::string& precision);

  std::vector<std::string> answer(const std::vector<datagen::TextRequest>& requests);

 private:
  datagen::TextGenerator generator_;
  const datagen::DecodingOptions& decoding_;
};

void register_generator_actor();

}  // namespace desta::actors
