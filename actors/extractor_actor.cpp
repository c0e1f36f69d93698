#include "actors/extractor_actor.h"

#include "datagen/audio_file.h"
#include "datagen/metadata.h"
#include "runtime/actor/actor_system.h"

namespace desta::actors {

std::vector<Extraction> ExtractorActor::measure(const std::vector<ExtractionRequest>& requests) {
  const auto& options = runtime::current_system().resource<datagen::MetadataOptions>();
  std::vector<Extraction> extractions;
  for (const auto& request : requests) {
    Extraction extraction;
    try {
      const auto wave = datagen::read_audio(request.audio);
      extraction.seconds = wave.seconds();
      auto metadata = datagen::measure_metadata(wave, request.transcription, options);
      if (!request.impulse_response.empty()) {
        metadata = datagen::merge(
            {datagen::measure_reverberation(datagen::read_audio(request.impulse_response),
                                            options.thresholds)},
            metadata);
      }
      extraction.metadata = datagen::metadata_to_json(metadata).dump();
    } catch (const runtime::Error& error) {
      extraction.problem = error.what();
    }
    extractions.push_back(std::move(extraction));
  }
  return extractions;
}

void register_extractor_actor() {
  runtime::actor_type<ExtractorActor>("Extractor")
      .constructor<>()
      .method<&ExtractorActor::measure>("measure");
}

}  // namespace desta::actors
