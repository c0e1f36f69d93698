#include "actors/generator_actor.h"

#include "models/torch_util.h"
#include "runtime/actor/actor_system.h"

namespace desta::actors {

GeneratorActor::GeneratorActor(const std::string& llm, const std::string& precision)
    : generator_(llm, models::parse_precision(precision)),
      decoding_(runtime::current_system().resource<datagen::DecodingOptions>()) {}

std::vector<std::string> GeneratorActor::answer(const std::vector<datagen::TextRequest>& requests) {
  return generator_.answer(requests, decoding_);
}

void register_generator_actor() {
  runtime::actor_type<GeneratorActor>("Generator")
      .constructor<std::string, std::string>()
      .method<&GeneratorActor::answer>("answer");
}

}  // namespace desta::actors
