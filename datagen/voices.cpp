#include "datagen/voices.h"

#include <array>
#include <cmath>
#include <string_view>

#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

// Median F0 [Hz] (YIN, see pitch.h) at these settings, over the accents, rates and sentences.
constexpr std::array<double, 5> kPitchSettings = {0, 25, 50, 75, 99};
using PitchCurve = std::array<double, 5>;

struct Variant {
  std::string_view name;
  std::string_view gender;
  std::string_view age;
  PitchCurve pitch;
  Split split;
};

// Each was rendered in every accent and measured: every woman lies between 170 and 265 Hz and
// every man between 70 and 125 Hz at the neutral setting. Ages are those that the voice files
// state (up to 29 Young, from 65 Elderly); a file that states none describes an adult. Of twins
// that differ by a nuance (belinda and linda, Diogo and michel, Henrique and Hugo) only one is
// here, so that a held-out speaker has no twin in training.
constexpr auto kVariants = std::to_array<Variant>({
    {"f2", "Female", "Adult", {129, 157, 194, 249, 322}, Split::kTrain},
    {"f4", "Female", "Adult", {113, 140, 179, 234, 307}, Split::kTrain},
    {"Alicia", "Female", "Adult", {167, 201, 251, 319, 416}, Split::kTrain},
    {"Annie", "Female", "Adult", {191, 206, 238, 281, 340}, Split::kTrain},
    {"anika", "Female", "Adult", {172, 212, 267, 345, 452}, Split::kTrain},
    {"aunty", "Female", "Adult", {77, 119, 174, 254, 362}, Split::kTrain},
    {"steph", "Female", "Adult", {105, 138, 184, 249, 335}, Split::kTrain},
    {"grandma", "Female", "Elderly", {154, 170, 201, 245, 304}, Split::kTrain},
    {"f1", "Female", "Elderly", {114, 142, 179, 233, 304}, Split::kHeldOut},
    {"f3", "Female", "Adult", {145, 173, 208, 263, 335}, Split::kHeldOut},
    {"f5", "Female", "Adult", {129, 160, 203, 266, 350}, Split::kHeldOut},
    {"Andrea", "Female", "Adult", {150, 191, 244, 322, 429}, Split::kHeldOut},
    {"linda", "Female", "Adult", {132, 172, 227, 307, 414}, Split::kHeldOut},
    {"m1", "Male", "Elderly", {68, 75, 93, 120, 157}, Split::kTrain},
    {"m2", "Male", "Adult", {66, 78, 100, 133, 176}, Split::kTrain},
    {"m4", "Male", "Adult", {70, 78, 94, 118, 152}, Split::kTrain},
    {"m5", "Male", "Adult", {69, 82, 102, 132, 171}, Split::kTrain},
    {"m7", "Male", "Adult", {76, 89, 106, 133, 170}, Split::kTrain},
    {"m8", "Male", "Adult", {67, 71, 85, 108, 139}, Split::kTrain},
    {"Alex", "Male", "Adult", {62, 76, 104, 144, 197}, Split::kTrain},
    {"Andy", "Male", "Adult", {65, 74, 95, 127, 170}, Split::kTrain},
    {"Gene", "Male", "Adult", {66, 75, 95, 123, 163}, Split::kTrain},
    {"Jacky", "Male", "Adult", {77, 92, 114, 147, 191}, Split::kTrain},
    {"Michael", "Male", "Adult", {75, 89, 106, 135, 171}, Split::kTrain},
    {"Diogo", "Male", "Young", {70, 84, 104, 135, 175}, Split::kTrain},
    {"Henrique", "Male", "Young", {81, 93, 108, 134, 167}, Split::kTrain},
    {"adam", "Male", "Adult", {70, 81, 101, 130, 170}, Split::kTrain},
    {"antonio", "Male", "Adult", {76, 89, 110, 140, 181}, Split::kTrain},
    {"david", "Male", "Adult", {50, 66, 75, 96, 125}, Split::kTrain},
    {"ed", "Male", "Adult", {86, 102, 124, 159, 204}, Split::kTrain},
    {"max", "Male", "Adult", {69, 83, 102, 131, 170}, Split::kTrain},
    {"pablo", "Male", "Adult", {79, 91, 112, 143, 185}, Split::kTrain},
    {"paul", "Male", "Adult", {64, 69, 84, 111, 144}, Split::kTrain},
    {"robert", "Male", "Adult", {74, 82, 98, 120, 152}, Split::kTrain},
    {"m3", "Male", "Adult", {72, 85, 104, 133, 173}, Split::kHeldOut},
    {"m6", "Male", "Adult", {69, 80, 100, 130, 170}, Split::kHeldOut},
    {"Lee", "Male", "Adult", {65, 74, 95, 126, 169}, Split::kHeldOut},
    {"Mike", "Male", "Adult", {70, 75, 90, 113, 145}, Split::kHeldOut},
    {"victor", "Male", "Young", {67, 75, 95, 123, 163}, Split::kHeldOut},
    {"grandpa", "Male", "Elderly", {71, 83, 106, 133, 172}, Split::kHeldOut},
});

struct Accent {
  std::string_view language;  // as espeak-ng takes it in front of "+variant"
  std::string_view name;
};

constexpr auto kAccents = std::to_array<Accent>({
    {"en-us", "American"},
    {"en", "British"},  // gmw/en, which the list calls en-gb
    {"en-gb-scotland", "Scottish"},
    {"en-gb-x-rp", "Received Pronunciation"},
    {"en-gb-x-gbclan", "Lancashire"},
    {"en-gb-x-gbcwmd", "West Midlands"},
    {"en-029", "Caribbean"},
    {"en-us-nyc", "New York"},
});

struct FliteVoice {
  std::string_view name;
  std::string_view gender;
  std::string_view accent;
  PitchCurve pitch;
};

constexpr auto kFliteVoices = std::to_array<FliteVoice>({
    {"awb", "Male", "Scottish", {72, 93, 131, 184, 256}},
    {"kal", "Male", "American", {63, 69, 102, 149, 213}},
    {"rms", "Male", "American", {103, 103, 103, 103, 103}},
    {"slt", "Female", "American", {86, 122, 171, 243, 340}},
});

const PitchCurve& curve_of(const Voice& voice) {
  if (voice.engine == "flite") {
    for (const FliteVoice& known : kFliteVoices) {
      if (known.name == voice.variant) {
        return known.pitch;
      }
    }
  }
  for (const Variant& known : kVariants) {
    if (known.name == voice.variant) {
      return known.pitch;
    }
  }
  throw runtime::DataError("voice '{}' ({}, {}): not one of the voices known here", voice.id,
                           voice.engine, voice.variant);
}

}  // namespace

std::vector<Voice> voices(Split split) {
  std::vector<Voice> result;
  for (const Variant& variant : kVariants) {
    if (variant.split != split) {
      continue;
    }
    for (const Accent& accent : kAccents) {
      result.push_back(Voice{.id = std::string(accent.language) + "+" + std::string(variant.name),
                             .engine = "espeak",
                             .language = std::string(accent.language),
                             .variant = std::string(variant.name),
                             .gender = std::string(variant.gender),
                             .age = std::string(variant.age),
                             .accent = std::string(accent.name),
                             .split = split});
    }
  }
  return result;
}

std::vector<Voice> flite_voices() {
  std::vector<Voice> result;
  for (const FliteVoice& voice : kFliteVoices) {
    result.push_back(Voice{.id = "flite-" + std::string(voice.name),
                           .engine = "flite",
                           .language = "en",
                           .variant = std::string(voice.name),
                           .gender = std::string(voice.gender),
                           .age = "Adult",
                           .accent = std::string(voice.accent),
                           .split = Split::kHeldOut});
  }
  return result;
}

double pitch_of(const Voice& voice, double setting) {
  const PitchCurve& curve = curve_of(voice);
  for (std::size_t i = 1; i < curve.size(); ++i) {
    if (setting <= kPitchSettings[i]) {
      return std::lerp(
          curve[i - 1], curve[i],
          (setting - kPitchSettings[i - 1]) / (kPitchSettings[i] - kPitchSettings[i - 1]));
    }
  }
  return curve.back();
}

}  // namespace desta::datagen
