#include "actors/extractor_actor.h"

#include <algorithm>

#include "datagen/attribute_model.h"
#include "datagen/audio_file.h"
#include "datagen/metadata.h"
#include "runtime/actor/actor_system.h"

namespace desta::actors {

std::vector<Extraction> ExtractorActor::measure(const std::vector<ExtractionRequest>& requests) {
  const auto& options = runtime::current_system().resource<datagen::MetadataOptions>();
  const auto& models = runtime::current_system().resource<datagen::AttributeModels>();
  std::vector<Extraction> extractions;
  std::vector<datagen::Metadata> known(requests.size());
  std::vector<datagen::Waveform> beginnings;  // of what could be read: as much as a model hears
  std::vector<std::size_t> places;            // and which request each belongs to
  double longest = 0;
  for (const auto& model : models) {
    longest = std::max(longest, model.card().seconds);
  }
  for (const auto& request : requests) {
    Extraction extraction;
    try {
      auto wave = datagen::read_audio(request.audio);
      extraction.seconds = wave.seconds();
      auto metadata = datagen::measure_metadata(wave, request.transcription, options);
      if (!request.impulse_response.empty()) {
        metadata = datagen::merge(
            {datagen::measure_reverberation(datagen::read_audio(request.impulse_response),
                                            options.thresholds)},
            metadata);
      }
      known[extractions.size()] = std::move(metadata);
      wave.samples.resize(std::min(wave.samples.size(),
                                   static_cast<std::size_t>(longest * wave.sample_rate)));
      wave.samples.shrink_to_fit();
      beginnings.push_back(std::move(wave));
      places.push_back(extractions.size());
    } catch (const runtime::Error& error) {
      extraction.problem = error.what();
    }
    extractions.push_back(std::move(extraction));
  }
  for (const auto& model : models) {
    const auto said = model(beginnings);
    for (std::size_t i = 0; i < said.size(); ++i) {
      known[places[i]] = datagen::merge(known[places[i]], said[i]);
    }
  }
  for (const std::size_t place : places) {
    extractions[place].metadata = datagen::metadata_to_json(known[place]).dump();
  }
  return extractions;
}

void register_extractor_actor() {
  runtime::actor_type<ExtractorActor>("Extractor")
      .constructor<>()
      .method<&ExtractorActor::measure>("measure");
}

}  // namespace desta::actors
