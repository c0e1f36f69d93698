#include "trainer/learned.h"

#include "models/safetensors.h"

namespace desta::trainer {
models::TensorMap initial_beside_adapter(const StagePart& part, const ModelShapes& shapes,
                                         const std::string& speech, std::uint64_t seed) {
  models::TensorMap tensors;
  if (shapes.lora.has_value()) {
    tensors.merge(models::initial_lora(shapes.llama, *shapes.lora, part.llama_begin,
                                       part.llama_end, seed));
  }
  const auto begin = frozen_end(part, shapes);
  if (begin < part.encoder_end) {
    models::ModelFolder folder(speech, at::kFloat);
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
