#include "trainer/learned.h"

#include <algorithm>

#include "models/safetensors.h"

namespace desta::trainer {
namespace {

bool trains_encoder(const StagePart& part, const ModelShapes& shapes) {
  return part.encoder_begin < part.encoder_end && part.encoder_end > shapes.trained_from();
}

}  // namespace

models::TensorMap initial_beside_adapter(const StagePart& part, const ModelShapes& shapes,
                                         const std::string& speech, std::uint64_t seed) {
  models::TensorMap tensors;
  if (shapes.lora.has_value()) {
    tensors.merge(models::initial_lora(shapes.llama, *shapes.lora, part.llama_begin,
                                       part.llama_end, seed));
  }
  if (trains_encoder(part, shapes)) {
    models::ModelFolder folder(speech, at::kFloat);
    const auto begin = std::max(part.encoder_begin, shapes.trained_from());
    (void)models::WhisperEncoder(shapes.whisper, {begin, part.encoder_end, false}, folder);
    models::TensorMap loaded = folder.loaded();
    tensors.merge(loaded);
  }
  return tensors;
}

std::string parameter_file(std::string_view name) {
  if (models::is_lora_name(name)) {
    return "lora.safetensors";
  }
  return name.starts_with("model.encoder.") ? "encoder.safetensors" : "adapter.safetensors";
}

}  // namespace desta::trainer
