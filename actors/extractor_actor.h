// The actor that measures recordings and asks attribute models about them.
#pragma once

#include <string>
#include <vector>

namespace desta::actors {

// A recording to measure.
struct ExtractionRequest {
  std::string audio;
  std::string transcription;
  std::string impulse_response;  // a recording of the room's; empty when there is none
  template <class Archive>
  void serialize(Archive& archive) {
    archive(audio, transcription, impulse_response);
  }
};

struct Extraction {
  std::string metadata;  // measured attributes and models' as JSON (datagen/metadata.h)
  std::string problem;   // why the recording could not be measured; empty when it was
  double seconds = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(metadata, problem, seconds);
  }
};

// How to measure (datagen::MetadataOptions) and the models (datagen::AttributeModels) are this process's resources.
class ExtractorActor {
 public:
  std::vector<Extraction> measure(const std::vector<ExtractionRequest>& requests);
};

void register_extractor_actor();

}  // namespace desta::actors
