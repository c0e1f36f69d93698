// The actor that writes responses: a whole frozen LLM on its rank.
#pragma once

#include <string>
#include <vector>

#include "datagen/text_generator.h"
#include "trainer/options.h"

namespace desta::actors {

class GeneratorActor {
 public:
  // The LLM (trainer::ModelOptions) and the decoding settings are this process's resources.
  GeneratorActor();

  // Throws ModelError naming the model's folder.
  std::vector<std::string> answer(const std::vector<datagen::TextRequest>& requests);

 private:
  explicit GeneratorActor(const trainer::ModelOptions& models);

  std::string folder_;
  datagen::TextGenerator generator_;
  const datagen::DecodingOptions& decoding_;
};

void register_generator_actor();

}  // namespace desta::actors
