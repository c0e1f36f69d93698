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
    {"loudness", "Loudness: "},
    {"speaking_speed", "Speaking speed: "},
    {"noise_level", "Noise Level: "},
    {"reverberation", "Reverberation(C50): "},
    {"intent", "Intent: "},
    {"language", "Language: "},
    {"speech_activity", "Speech activity: "},
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

constexpr std::string_view kPublished = "[{start} - {end}]: \"{text}\" ({attributes})";

// What a layout's fields stand for.
struct Fields {
  std::string start;
  std::string end;
  std::string seconds;
  std::string text;
  std::string attributes;
};

const std::string* field_of(const Fields& fields, std::string_view name) {
  if (name == "start") {
    return &fields.start;
  }
  if (name == "end") {
    return &fields.end;
  }
  if (name == "seconds") {
    return &fields.seconds;
  }
  if (name == "text") {
    return &fields.text;
  }
  return name == "attributes" ? &fields.attributes : nullptr;
}

// Takes away the bracket that `line` ends with and a space before it, when `next` is its partner.
bool leave_out_brackets(std::string& line, std::string_view next) {
  for (const std::string_view pair : {"()", "[]", "<>"}) {
    if (!next.empty() && next.front() == pair[1] && line.ends_with(pair[0])) {
      line.pop_back();
      if (line.ends_with(' ')) {
        line.pop_back();
      }
      return true;
    }
  }
  return false;
}

std::string fill_layout(std::string_view layout, const Fields& fields) {
  std::string line;
  for (std::size_t i = 0; i < layout.size(); ++i) {
    const char c = layout[i];
    if (c != '{' && c != '}') {
      line += c;
      continue;
    }
    if (i + 1 < layout.size() && layout[i + 1] == c) {
      line += c;
      ++i;
      continue;
    }
    const std::size_t end = layout.find('}', i);
    if (c == '}' || end == std::string_view::npos) {
      throw runtime::ConfigError("the layout \"{}\" of a seed transcript has a brace without its partner; "
                                 "a brace itself is written twice",
                                 layout);
    }
    const std::string_view name = layout.substr(i + 1, end - i - 1);
    const std::string* value = field_of(fields, name);
    if (value == nullptr) {
      throw runtime::ConfigError("the layout of a seed transcript has no field '{}' (known: start, end, "
                                 "seconds, text, attributes)",
                                 name);
    }
    i = end;
    if (value == &fields.attributes && value->empty() && leave_out_brackets(line, layout.substr(end + 1))) {
      ++i;
    }
    line += *value;
  }
  return line;
}

}  // namespace

std::vector<std::string> seed_attributes() {
  std::vector<std::string> names;
  for (const Label& label : kLabels) {
    names.emplace_back(label.name);
  }
  return names;
}

void check_layout(std::string_view layout) { (void)fill_layout(layout, {}); }

Metadata told_attributes(std::string_view seed_transcript, const Metadata& metadata) {
  Metadata told;
  for (const Label& label : kLabels) {
    const Attribute* attribute = find_attribute(metadata, label.name);
    if (attribute != nullptr && seed_transcript.find(fmt::format("{}{}", label.printed, attribute->text)) !=
                                    std::string_view::npos) {
      told.push_back(*attribute);
    }
  }
  return told;
}

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
  return fill_layout(options.layout.empty() ? kPublished : std::string_view(options.layout),
                     {.start = clock_time(0),
                      .end = clock_time(whole),
                      .seconds = fmt::format("{:.0f}", whole),
                      .text = words,
                      .attributes = attribute_list(metadata, options)});
}

}  // namespace desta::datagen
