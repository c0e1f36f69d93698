// Seed transcripts: a recording in words, for a language model that cannot hear. One line in the
// published format of DeSTA2:
//
//   [00:00:00 - 00:00:04]: "These days are long gone." (Gender:Male, Accent: Scottish, Age: Adult,
//   Emotion: neutral, Pitch: High, Volume: Low, Speaking speed: Fast, Noise Level:
//   Moderate(Signal-to-Noise Ratio: 15db), Reverberation(C50): 60ms, Duration: 4s)
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "datagen/metadata.h"

namespace desta::datagen {

struct SeedOptions {
  // Which attributes, in this order; names as in metadata.h. What is absent is left out. An
  // unknown name is a ConfigError.
  std::vector<std::string> attributes = {
      "gender",         "accent",      "age",           "emotion", "pitch",   "volume",
      "speaking_speed", "noise_level", "reverberation", "intent",  "duration"};
  bool show_source = false;  // " [annotated]", " [measured]" or " [model]" after each value
  // The line itself. Fields: {start} and {end} as 00:00:04, {seconds} as 4, {text} (the words) and
  // {attributes}; {{ and }} are braces. Where there is no attribute to tell, a pair of brackets right
  // around {attributes} and a space before it are left out with it. Empty: DeSTA2's, which is
  //   [{start} - {end}]: "{text}" ({attributes})
  std::string layout = {};
  friend bool operator==(const SeedOptions&, const SeedOptions&) = default;
};

// Seconds are rounded to the nearest whole, and are at least 1. The reverberation is printed in
// the unit that is known: dB for what is measured as C50, ms as some annotations have it.
// Without any attribute the parentheses are left out. Line breaks in the transcription become
// spaces. Throws ConfigError as check_layout() does.
[[nodiscard]] std::string seed_transcript(std::string_view transcription, double seconds,
                                          const Metadata& metadata,
                                          const SeedOptions& options = {});

// What stands between the parentheses: "Gender:Male, Accent: Scottish"; empty when there is
// nothing to say.
[[nodiscard]] std::string attribute_list(const Metadata& metadata, const SeedOptions& options = {});

// Throws ConfigError for a layout with a field that there is not, or a brace without its partner.
void check_layout(std::string_view layout);

// The attributes that a seed transcript may tell, by name.
[[nodiscard]] std::vector<std::string> seed_attributes();

// Those of `metadata` that stand in this seed transcript.
[[nodiscard]] Metadata told_attributes(std::string_view seed_transcript, const Metadata& metadata);

// "00:01:05" for 65 s; hours may have more than two digits.
[[nodiscard]] std::string clock_time(double seconds);

}  // namespace desta::datagen
