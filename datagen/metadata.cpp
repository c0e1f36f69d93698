#include "datagen/metadata.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "datagen/acoustics.h"
#include "datagen/confidence.h"
#include "datagen/manifest.h"
#include "datagen/measurement.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

using nlohmann::json;
using runtime::DataError;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// A number as people write it: "20", "0.5".
std::string plain_number(double number) {
  return number == std::round(number) && std::abs(number) < 1e15 ? fmt::format("{:.0f}", number)
                                                                 : fmt::format("{:.3g}", number);
}

// The word of a graded attribute in the spelling used here: "low" -> "Low", "m" -> "Male".
std::string canonical(const std::string& text) {
  constexpr auto kWords = std::to_array<std::string_view>(
      {"Low", "Normal", "High", "Slow", "Fast", "Moderate", "Male", "Female"});
  const std::string small = lower(text);
  for (const std::string_view word : kWords) {
    if (lower(std::string(word)) == small) {
      return std::string(word);
    }
  }
  if (small == "m" || small == "man") {
    return "Male";
  }
  return small == "f" || small == "woman" ? "Female" : text;
}

// The first of `keys` that the manifest's line holds with a value; null when none does.
const json* value_of(const ManifestRow& row, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto found = row.fields.find(key);
    const bool usable = found != row.fields.end() &&
                        ((found->is_string() && !found->get_ref<const std::string&>().empty()) ||
                         (found->is_number() && std::isfinite(found->get<double>())));
    if (usable) {
      return &*found;
    }
  }
  return nullptr;
}

std::string noise_text(const std::string& word, double snr_db) {
  return fmt::format("{}(Signal-to-Noise Ratio: {:.0f}db)", word, snr_db);
}

// An attribute that is a word in the manifest, or a number (an age, say) that stands as it is.
void add_plain(Metadata& metadata, const ManifestRow& row, const char* name,
               std::initializer_list<const char*> keys) {
  const json* value = value_of(row, keys);
  if (value == nullptr) {
    return;
  }
  Attribute attribute{
      .name = name, .text = {}, .word = {}, .number = {}, .unit = {}, .source = Source::kAnnotated};
  if (value->is_number()) {
    attribute.number = value->get<double>();
    attribute.text = plain_number(*attribute.number);
  } else {
    attribute.text = value->get<std::string>();
    attribute.text =
        std::string_view(name) == "gender" ? canonical(attribute.text) : attribute.text;
  }
  attribute.word = attribute.text;
  metadata.push_back(std::move(attribute));
}

using WordOf = std::string (*)(double, const Thresholds&);

// An attribute that is a grade: given as its word, or as a number that the thresholds turn into it.
void add_graded(Metadata& metadata, const ManifestRow& row, const Thresholds& thresholds,
                const char* name, const char* unit, WordOf word_of,
                std::initializer_list<const char*> keys) {
  const json* value = value_of(row, keys);
  if (value == nullptr) {
    return;
  }
  Attribute attribute{
      .name = name, .text = {}, .word = {}, .number = {}, .unit = {}, .source = Source::kAnnotated};
  if (value->is_number()) {
    attribute.number = value->get<double>();
    attribute.unit = unit;
    attribute.word = word_of(*attribute.number, thresholds);
  } else {
    attribute.word = canonical(value->get<std::string>());
  }
  attribute.text = attribute.word;
  metadata.push_back(std::move(attribute));
}

void add_noise_level(Metadata& metadata, const ManifestRow& row, const Thresholds& thresholds) {
  const json* word = value_of(row, {"noise_level"});
  const json* snr = value_of(row, {"snr_db", "snr"});
  Attribute attribute{.name = "noise_level",
                      .text = {},
                      .word = {},
                      .number = {},
                      .unit = {},
                      .source = Source::kAnnotated};
  if (snr != nullptr && snr->is_number()) {
    attribute.number = snr->get<double>();
    attribute.unit = "dB";
  }
  if (word != nullptr && word->is_string()) {
    attribute.word = canonical(word->get<std::string>());
  } else if (attribute.number) {
    attribute.word = noise_word(*attribute.number, thresholds);
  } else {
    return;
  }
  attribute.text =
      attribute.number ? noise_text(attribute.word, *attribute.number) : attribute.word;
  metadata.push_back(std::move(attribute));
}

// Printed as the number; the word is its grade.
Attribute reverberation_attribute(double c50_db, const Thresholds& thresholds, Source source) {
  return {.name = "reverberation",
          .text = fmt::format("{}dB", std::lround(c50_db)),
          .word = reverberation_word(c50_db, thresholds),
          .number = c50_db,
          .unit = "dB",
          .source = source};
}

void add_reverberation(Metadata& metadata, const ManifestRow& row, const Thresholds& thresholds) {
  const json* decibels = value_of(row, {"c50_db", "c50"});
  const json* milliseconds = value_of(row, {"c50_ms", "reverberation_ms"});
  if (decibels != nullptr && decibels->is_number()) {
    metadata.push_back(
        reverberation_attribute(decibels->get<double>(), thresholds, Source::kAnnotated));
  } else if (milliseconds != nullptr && milliseconds->is_number()) {
    const auto number = milliseconds->get<double>();
    const std::string text = fmt::format("{:.0f}ms", number);
    metadata.push_back(Attribute{.name = "reverberation",
                                 .text = text,
                                 .word = text,
                                 .number = number,
                                 .unit = "ms",
                                 .source = Source::kAnnotated});
  } else {
    add_plain(metadata, row, "reverberation", {"reverberation", "c50"});
  }
}

Attribute duration_attribute(double seconds, Source source) {
  const std::string text = fmt::format("{}s", std::max(1L, std::lround(seconds)));
  return {.name = "duration",
          .text = text,
          .word = text,
          .number = seconds,
          .unit = "s",
          .source = source};
}

std::string grade(double value, double low, double high, const char* below, const char* between,
                  const char* above) {
  return value < low ? below : value < high ? between : above;
}

// How sure the manifest is of each attribute that it states.
void add_confidence(Metadata& metadata, const ManifestRow& row) {
  const auto stated = row.fields.find("confidence");
  if (stated == row.fields.end() || !stated->is_object()) {
    return;
  }
  for (Attribute& attribute : metadata) {
    const auto found = stated->find(attribute.name);
    if (found != stated->end() && found->is_number()) {
      attribute.confidence = std::clamp(found->get<double>(), 0.0, 1.0);
    }
  }
}

}  // namespace

std::string_view name_of(Source source) {
  return source == Source::kAnnotated  ? "annotated"
         : source == Source::kMeasured ? "measured"
                                       : "model";
}

const Attribute* find_attribute(const Metadata& metadata, std::string_view name) {
  const auto found = std::find_if(metadata.begin(), metadata.end(),
                                  [&](const Attribute& a) { return a.name == name; });
  return found == metadata.end() ? nullptr : &*found;
}

std::string pitch_word(double hz, const Thresholds& thresholds) {
  return grade(hz, thresholds.pitch_low_hz, thresholds.pitch_high_hz, "Low", "Normal", "High");
}

std::string volume_word(double dbfs, const Thresholds& thresholds) {
  return grade(dbfs, thresholds.volume_low_dbfs, thresholds.volume_high_dbfs, "Low", "Normal",
               "High");
}

std::string speed_word(double syllables_per_second, const Thresholds& thresholds) {
  return grade(syllables_per_second, thresholds.speed_slow, thresholds.speed_fast, "Slow", "Normal",
               "Fast");
}

std::string noise_word(double snr_db, const Thresholds& thresholds) {
  return grade(snr_db, thresholds.snr_high_noise_db, thresholds.snr_low_noise_db, "High",
               "Moderate", "Low");
}

std::string loudness_word(double lufs, const Thresholds& thresholds) {
  return grade(lufs, thresholds.loudness_low_lufs, thresholds.loudness_high_lufs, "Low", "Normal",
               "High");
}

std::string reverberation_word(double c50_db, const Thresholds& thresholds) {
  return grade(c50_db, thresholds.c50_high_reverberation_db, thresholds.c50_low_reverberation_db,
               "High", "Moderate", "Low");
}

Metadata annotate(const ManifestRow& row, const Thresholds& thresholds) {
  Metadata metadata;
  add_plain(metadata, row, "gender", {"gender", "sex"});
  add_plain(metadata, row, "age", {"age"});
  add_plain(metadata, row, "accent", {"accent", "dialect"});
  add_plain(metadata, row, "emotion", {"emotion", "style"});
  add_plain(metadata, row, "intent", {"intent"});
  add_plain(metadata, row, "language", {"language"});
  add_graded(metadata, row, thresholds, "pitch", "Hz", pitch_word, {"pitch"});
  add_graded(metadata, row, thresholds, "volume", "dBFS", volume_word, {"volume", "energy"});
  add_graded(metadata, row, thresholds, "loudness", "LUFS", loudness_word, {"loudness"});
  add_graded(metadata, row, thresholds, "speaking_speed", "syllables/s", speed_word,
             {"speaking_speed", "speed"});
  add_noise_level(metadata, row, thresholds);
  add_reverberation(metadata, row, thresholds);
  if (row.duration > 0) {
    metadata.push_back(duration_attribute(row.duration, Source::kAnnotated));
  }
  add_confidence(metadata, row);
  return metadata;
}

Metadata measure_metadata(const Waveform& waveform, std::string_view transcription,
                          const MetadataOptions& options) {
  const Thresholds& thresholds = options.thresholds;
  const Measurement measured = measure(waveform, transcription, options.blind_reverberation);
  Metadata metadata;
  const auto add = [&](const char* name, const std::optional<double>& value, const char* unit,
                       WordOf word_of, const ErrorModel& errors, const char* origin) {
    if (value) {
      const std::string word = word_of(*value, thresholds);
      metadata.push_back(Attribute{
          .name = name,
          .text = word,
          .word = word,
          .number = value,
          .unit = unit,
          .source = Source::kMeasured,
          .confidence = word_confidence(
              *value, errors, [&](double other) { return word_of(other, thresholds) == word; }),
          .origin = origin});
    }
  };
  const bool noisy = measured.snr_db.value_or(0) < kNoisyDb;
  add("pitch", measured.pitch_hz, "Hz", pitch_word, noisy ? kNoisyPitchErrors : kPitchErrors, "YIN");
  add("volume", measured.volume_dbfs, "dBFS", volume_word, kVolumeErrors, "ITU-T P.56");
  add("loudness", measured.loudness_lufs, "LUFS", loudness_word, kLoudnessErrors, "EBU R 128");
  add("speaking_speed", measured.syllables_per_second, "syllables/s", speed_word,
      noisy ? kNoisySpeedErrors : kSpeedErrors, "syllables of the words");
  add("noise_level", measured.snr_db, "dB", noise_word, kSnrErrors, "NIST STNR");
  if (measured.snr_db) {
    metadata.back().text = noise_text(metadata.back().word, *measured.snr_db);
  }
  if (measured.reverberation) {
    const auto& [c50, deviation] = *measured.reverberation;
    add("reverberation", c50, "dB", reverberation_word, {.deviation = deviation}, "decay rates");
    metadata.back().text = fmt::format("{}dB", std::lround(c50));
  }
  if (measured.speech_seconds) {
    const double percent = 100.0 * *measured.speech_seconds / measured.seconds;
    const std::string text = fmt::format("{:.0f}%", percent);
    metadata.push_back(Attribute{.name = "speech_activity",
                                 .text = text,
                                 .word = text,
                                 .number = percent,
                                 .unit = "%",
                                 .source = Source::kMeasured,
                                 .confidence = activity_confidence(*measured.snr_db),
                                 .origin = "frame levels"});
  }
  metadata.push_back(duration_attribute(measured.seconds, Source::kMeasured));
  return metadata;
}

Attribute measure_reverberation(const Waveform& impulse_response, const Thresholds& thresholds) {
  Attribute attribute = reverberation_attribute(
      c50_of(from_direct_sound(impulse_response.samples), impulse_response.sample_rate), thresholds,
      Source::kMeasured);
  attribute.origin = "impulse response";
  return attribute;
}

Metadata merge(const Metadata& annotated, const Metadata& measured) {
  Metadata merged = annotated;
  for (const Attribute& attribute : measured) {
    if (find_attribute(merged, attribute.name) == nullptr) {
      merged.push_back(attribute);
    }
  }
  return merged;
}

Metadata with_thresholds(Metadata metadata, const Thresholds& thresholds) {
  struct Graded {
    std::string_view name;
    WordOf word_of;
  };
  constexpr Graded kGraded[] = {
      {"pitch", pitch_word},           {"volume", volume_word},     {"loudness", loudness_word},
      {"speaking_speed", speed_word},  {"noise_level", noise_word}, {"reverberation", reverberation_word},
  };
  for (Attribute& attribute : metadata) {
    const auto* const graded = std::find_if(std::begin(kGraded), std::end(kGraded), [&](const Graded& g) {
      return g.name == attribute.name;
    });
    if (attribute.source != Source::kMeasured || !attribute.number || graded == std::end(kGraded)) {
      continue;
    }
    attribute.word = graded->word_of(*attribute.number, thresholds);
    if (attribute.name == "noise_level") {
      attribute.text = noise_text(attribute.word, *attribute.number);
    } else if (attribute.name != "reverberation") {
      attribute.text = attribute.word;
    }
  }
  return metadata;
}

json metadata_to_json(const Metadata& metadata) {
  json array = json::array();
  for (const Attribute& attribute : metadata) {
    json object = {{"name", attribute.name},
                   {"text", attribute.text},
                   {"word", attribute.word},
                   {"unit", attribute.unit},
                   {"source", name_of(attribute.source)}};
    object["number"] = attribute.number ? json(*attribute.number) : json(nullptr);
    object["confidence"] = attribute.confidence;
    if (!attribute.origin.empty()) {
      object["origin"] = attribute.origin;
    }
    array.push_back(std::move(object));
  }
  return array;
}

Metadata metadata_from_json(const json& array) {
  if (!array.is_array()) {
    throw DataError("metadata: an array was expected, not {}", array.type_name());
  }
  Metadata metadata;
  for (const json& object : array) {
    const auto text = [&](const char* key) {
      if (!object.is_object() || !object.contains(key) || !object[key].is_string()) {
        throw DataError("metadata: attribute {} lacks the text \"{}\"", metadata.size(), key);
      }
      return object[key].get<std::string>();
    };
    Attribute attribute{.name = text("name"),
                        .text = text("text"),
                        .word = text("word"),
                        .number = {},
                        .unit = text("unit"),
                        .source = Source::kAnnotated};
    const std::string source = text("source");
    const auto known = {Source::kAnnotated, Source::kMeasured, Source::kModel};
    const auto* const found = std::find_if(known.begin(), known.end(),
                                           [&](Source s) { return name_of(s) == source; });
    if (found == known.end()) {
      throw DataError("metadata: \"source\" is \"{}\"; it must be annotated, measured or model",
                      source);
    }
    attribute.source = *found;
    if (object.contains("number") && object["number"].is_number()) {
      attribute.number = object["number"].get<double>();
    }
    if (object.contains("confidence")) {
      const json& confidence = object["confidence"];
      if (!confidence.is_number() || confidence < 0.0 || confidence > 1.0) {
        throw DataError("metadata: \"confidence\" of {} must be a number from 0 to 1",
                        attribute.name);
      }
      attribute.confidence = confidence.get<double>();
    }
    if (object.contains("origin")) {
      attribute.origin = text("origin");
    }
    metadata.push_back(std::move(attribute));
  }
  return metadata;
}

}  // namespace desta::datagen
