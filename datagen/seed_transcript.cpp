#include "datagen/seed_transcript.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

struct Label {
  std::string_view name;
  std::string_view printed;  // with what stands between it and the value, as published
};

constexpr auto kLabels = std::to_array<Label>({
    {"gender", "Gender:"},
    {"accent", "Accent: "},
    {"age", "Age: "},
    {"emotion", "Emotion: "},
    {"pitch", "Pitch: "},
    {"volume", "Volume: "},
    {"speaking_speed", "Speaking speed: "},
    {"noise_level", "Noise Level: "},
    {"reverberation", "Reverberation(C50): "},
    {"intent", "Intent: "},
    {"duration", "Duration: "},
});

const Label& label_of(const std::string& name) {
  const auto found = std::find_if(kLabels.begin(), kLabels.end(),
                                  [&](const Label& label) { return label.name == name; });
  if (found == kLabels.end()) {
    std::string known;
    for (const Label& label : kLabels) {
      known += (known.empty() ? "" : ", ") + std::string(label.name);
    }
    throw runtime::ConfigError("seed transcript: no attribute '{}' (known: {})", name, known);
  }
  return *found;
}

}  // namespace

std::string clock_time(double seconds) {
  const long whole = std::lround(std::max(0.0, seconds));
  return fmt::format("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string attribute_list(const Metadata& metadata, const SeedOptions& options) {
  std::string list;
  for (const std::string& name : options.attributes) {
    const Label& label = label_of(name);
    const Attribute* attribute = find_attribute(metadata, name);
    if (attribute == nullptr) {
      continue;
    }
    list += fmt::format("{}{}{}", list.empty() ? "" : ", ", label.printed, attribute->text);
    if (options.show_source) {
      list += fmt::format(" [{}]", name_of(attribute->source));
    }
  }
  return list;
}

std::string seed_transcript(std::string_view transcription, double seconds,
                            const Metadata& metadata, const SeedOptions& options) {
  std::string words(transcription);
  std::replace_if(
      words.begin(), words.end(), [](char c) { return c == '\n' || c == '\r' || c == '\t'; }, ' ');
  const double whole = std::isfinite(seconds) ? std::max(1.0, std::round(seconds)) : 1.0;
  std::string line = fmt::format("[{} - {}]: \"{}\"", clock_time(0), clock_time(whole), words);
  if (const std::string list = attribute_list(metadata, options); !list.empty()) {
    line += " (" + list + ")";
  }
  return line;
}

}  // namespace desta::datagen
