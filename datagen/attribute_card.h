// The card of a trained attribute model: a small YAML file beside it that says what it is given and what
// its answers mean.
//
//   name: gender-age                     # stands in every attribute that it gives
//   source: trained by train.py on ...   # who made it, from what; for people
//   model: model.pt                      # TorchScript; relative to the card
//   checksum: 0123456789abcdef           # of that file: XXH3, 16 hexadecimal digits; optional
//   input: {kind: log-mel, bins: 80, seconds: 4}       # or {kind: waveform, seconds: 4}
//   outputs:                             # in the order in which the model returns them
//     gender: [Female, Male]
//     age: [Young, Adult, Elderly]
//   minimum_confidence: {age: 0.6}       # below it the attribute is left out; 0 where nothing is said
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace desta::datagen {

struct AttributeOutput {
  std::string attribute;            // gender, age, accent, emotion, intent or language
  std::vector<std::string> labels;  // by index of the model's logits; two or more
  double minimum_confidence = 0;
  friend bool operator==(const AttributeOutput&, const AttributeOutput&) = default;
};

struct AttributeCard {
  enum class Input { kWaveform, kLogMel };

  std::string name;
  std::string source;
  std::filesystem::path model;  // absolute, or relative to the working folder
  std::string checksum;
  Input input = Input::kLogMel;
  std::int64_t bins = 0;        // of a log-mel
  double seconds = 0;           // longer recordings are cut, shorter ones followed by silence
  std::vector<AttributeOutput> outputs;
};

// Reads a card strictly: an unknown, missing or doubled key, or a value out of range, is a ConfigError
// that names file, line and key. The model itself is not opened.
[[nodiscard]] AttributeCard read_attribute_card(const std::filesystem::path& path);

}  // namespace desta::datagen
