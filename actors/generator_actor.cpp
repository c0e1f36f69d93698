#include "actors/generator_actor.h"

#include "models/torch_util.h"
#include "runtime/actor/actor_system.h"
#include "runtime/core/error.h"

namespace desta::actors {

GeneratorActor::GeneratorActor()
    : GeneratorActor(runtime::current_system().resource<trainer::ModelOptions>()) {}

GeneratorActor::GeneratorActor(const trainer::ModelOptions& models)
    : folder_(models.llm),
      generator_(models.llm, models::parse_precision(models.precision),
                 models::choose_device(models.device, models.local_rank)),
      decoding_(runtime::current_system().resource<datagen::DecodingOptions>()) {}

std::vector<std::string> GeneratorActor::answer(const std::vector<datagen::TextRequest>& requests) {
  try {
    return generator_.answer(requests, decoding_);
  } catch (const runtime::ModelError& error) {
    throw runtime::ModelError("{}: {}", folder_, error.what());
  }
}

void register_generator_actor() {
  runtime::actor_type<GeneratorActor>("Generator")
      .constructor<>()
      .method<&GeneratorActor::answer>("answer");
}

}  // namespace desta::actors
