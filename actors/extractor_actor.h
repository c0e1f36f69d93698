// The actor that measures recordings.
#pragma once

#include <string>
#include <vector>

namespace desta::actors {

// A recording to measure.
struct ExtractionRequest {
  std::string audio;
  std::string transcription;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(audio, transcription);
  }
};

struct Extraction {
  std::string metadata;  // measured attributes as JSON (datagen/metadata.h)
  std::string problem;   // why the recording could not be measured; empty when it was
  double seconds = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(metadata, problem, seconds);
  }
};

// The thresholds between words are this process's resource.
class ExtractorActor {
 public:
  std::vector<Extraction> measure(const std::vector<ExtractionRequest>& requests);
};

void register_extractor_actor();

}  // namespace desta::actors
