#include "datagen/measurement_store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <string_view>

#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

// To be raised when a measure gives other numbers than before.
constexpr int kMeasuresVersion = 1;

// Path, size and time of the last change.
std::optional<std::string> identity_of(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) {
    return std::nullopt;
  }
  const auto time = fs::last_write_time(path, error).time_since_epoch().count();
  if (error) {
    return std::nullopt;
  }
  return fmt::format("{}\n{}\n{}", path.string(), size, time);
}

constexpr std::string_view kBeginning = "{\"key\":\"";
constexpr std::size_t kDigits = 16;

// The key of a line that looks whole: millions of them are looked at when a run begins.
std::optional<std::uint64_t> key_of_line(std::string_view line) {
  if (!line.starts_with(kBeginning) || !line.ends_with('}') || line.size() < kBeginning.size() + kDigits) {
    return std::nullopt;
  }
  const char* digits = line.data() + kBeginning.size();
  std::uint64_t key = 0;
  const auto [end, error] = std::from_chars(digits, digits + kDigits, key, 16);
  return error == std::errc() && end == digits + kDigits ? std::optional(key) : std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> measurement_key(const fs::path& audio, const std::string& transcription,
                                             const fs::path& impulse_response, const MetadataOptions& options,
                                             const std::vector<std::string>& model_origins) {
  const auto recording = identity_of(audio);
  const auto room = impulse_response.empty() ? std::optional<std::string>("") : identity_of(impulse_response);
  if (!recording || !room) {
    return std::nullopt;
  }
  const Thresholds& t = options.thresholds;
  const std::vector<double> thresholds = {
      t.pitch_low_hz,      t.pitch_high_hz,    t.volume_low_dbfs,   t.volume_high_dbfs,
      t.speed_slow,        t.speed_fast,       t.snr_high_noise_db, t.snr_low_noise_db,
      t.loudness_low_lufs, t.loudness_high_lufs, t.c50_high_reverberation_db, t.c50_low_reverberation_db};
  static_assert(sizeof(Thresholds) == 12 * sizeof(double), "all of them belong to the key");
  std::uint64_t key = kMeasuresVersion;
  for (const std::string& part :
       {*recording, *room, transcription, fmt::format("{} {}", fmt::join(thresholds, " "), options.blind_reverberation),
        fmt::format("{}", fmt::join(model_origins, "\n"))}) {
    key = runtime::hash64(part, key);
  }
  return key;
}

MeasurementStore::MeasurementStore(const fs::path& path) : out_(path) {
  in_.open(path, std::ios::binary);
  if (!in_) {
    throw runtime::InternalError("{}: cannot read it", path.string());
  }
  std::string line;
  for (std::streamoff begin = 0; std::getline(in_, line); begin += static_cast<std::streamoff>(line.size()) + 1) {
    if (const auto key = key_of_line(line)) {
      lines_[*key] = begin;
    }
  }
}

std::optional<MeasuredRecording> MeasurementStore::find(std::uint64_t key) {
  const auto found = lines_.find(key);
  if (found == lines_.end()) {
    return std::nullopt;
  }
  in_.clear();
  in_.seekg(found->second);
  std::string text;
  std::getline(in_, text);
  try {
    const auto line = nlohmann::json::parse(text);
    return MeasuredRecording{line.at("seconds").get<double>(), metadata_from_json(line.at("metadata"))};
  } catch (const std::exception&) {
    return std::nullopt;  // damaged
  }
}

void MeasurementStore::add(std::uint64_t key, const MeasuredRecording& recording) {
  out_.write({{"key", runtime::to_hex(key)},
              {"seconds", recording.seconds},
              {"metadata", metadata_to_json(recording.metadata)}});
}

}  // namespace desta::datagen
