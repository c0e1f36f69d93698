// What was measured on recordings, kept in a file so that no run measures one twice: not one with other prompts, and
// not one that goes on where another was killed. JSON Lines, {"key":"00f3...","seconds":3.9,"metadata":[...]}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "datagen/metadata.h"
#include "runtime/telemetry/metrics_writer.h"

namespace desta::datagen {

struct MeasuredRecording {
  double seconds = 0;
  Metadata metadata;  // measured attributes and models'
};

// All that a measurement depends on: the recording and the impulse response by path, size and time of the last
// change, the transcription, how it is measured, the attribute models by their origins, and the version of the
// measures. Nothing when a file cannot be looked at.
[[nodiscard]] std::optional<std::uint64_t> measurement_key(const std::filesystem::path& audio,
                                                           const std::string& transcription,
                                                           const std::filesystem::path& impulse_response,
                                                           const MetadataOptions& options,
                                                           const std::vector<std::string>& model_origins);

class MeasurementStore {
 public:
  // Opens the file, or makes it with its folder. Lines that are none of ours (a kill leaves half a line) are passed
  // over: what stood there is measured again. In memory it takes a place in the file for each key. Throws
  // InternalError when it cannot be appended to.
  explicit MeasurementStore(const std::filesystem::path& path);

  [[nodiscard]] std::optional<MeasuredRecording> find(std::uint64_t key);
  // For those that come later: find() does not see it. Throws InternalError when the disk is full.
  void add(std::uint64_t key, const MeasuredRecording& recording);

 private:
  std::ifstream in_;
  std::unordered_map<std::uint64_t, std::streamoff> lines_;
  runtime::MetricsWriter out_;
};

}  // namespace desta::datagen
