// What is known of a recording besides its words: attributes such as gender, pitch or noise level,
// each with its value as text, as a word, as a number, where it comes from and how sure it is.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datagen/waveform.h"

namespace desta::datagen {

struct ManifestRow;

// kMeasured: by a signal measure. kModel: by a trained classifier (attribute_model.h).
enum class Source { kAnnotated, kMeasured, kModel };

[[nodiscard]] std::string_view name_of(Source source);  // "annotated", "measured", "model"

// Names in use: gender, age, accent, emotion, intent, language (annotated or a model's); pitch [Hz], volume
// [dBFS], loudness [LUFS], speaking_speed [syllables/s], noise_level [dB of SNR], reverberation [dB of
// C50, or the annotation's own unit], duration [s] (annotated or measured); speech_activity [% of
// the time] (measured).
struct Attribute {
  std::string name;
  std::string text;              // as it stands in a seed transcript: "Male", "4s", "15db"
  std::string word;              // the class: "Male", "High"; empty when there is none
  std::optional<double> number;  // in `unit`
  std::string unit;
  Source source = Source::kMeasured;
  // 0 to 1: how likely the word is right. Annotated: 1, unless the manifest says otherwise. Measured: the
  // share of the method's errors (confidence.h) that would leave the word as it is. A model's: its
  // softmax.
  double confidence = 1.0;
  std::string origin = {};  // the method or model that gave it; empty when annotated

  friend bool operator==(const Attribute&, const Attribute&) = default;
};

using Metadata = std::vector<Attribute>;

[[nodiscard]] const Attribute* find_attribute(const Metadata& metadata, std::string_view name);

// Where one word ends and the next begins. A value on a threshold belongs to the word above.
struct Thresholds {
  // Between the typical adult ranges: men speak at about 85 to 155 Hz, women at 165 to 255 Hz
  // (Baken, Clinical Measurement of Speech and Voice, 1987); the middle third is Normal.
  double pitch_low_hz = 130;
  double pitch_high_hz = 160;
  // Active speech level (ITU-T P.56); -26 dBFS is the nominal level of telephony tests (P.56,
  // G.191), 6 to 7 dB to either side still count as Normal.
  double volume_low_dbfs = -33;
  double volume_high_dbfs = -21.5;
  // Conversational English is spoken at some 4 to 6 syllables a second (articulation rate,
  // pauses left out; Goldman-Eisler 1968).
  double speed_slow = 3.75;
  double speed_fast = 6.6;
  // SNR: above 25 dB noise is hard to hear behind speech, below 10 dB it is hard to ignore.
  double snr_high_noise_db = 10;
  double snr_low_noise_db = 25;
  // Integrated loudness: the volume's, since the loudness of clean synthetic speech lies within 1 LU of
  // its active level (bench/RESULTS.md).
  double loudness_low_lufs = -33;
  double loudness_high_lufs = -21.5;
  // C50: Marshall, "An acoustics measurement program for evaluating auditoriums based on the early/late
  // sound energy ratio", JASA 96(4), 1994, calls speech above 7 dB excellent, 2 to 7 good, below 2 fair.
  double c50_high_reverberation_db = 2;
  double c50_low_reverberation_db = 7;

  friend bool operator==(const Thresholds&, const Thresholds&) = default;
};

// How recordings are measured.
struct MetadataOptions {
  Thresholds thresholds;
  bool blind_reverberation = true;         // estimate C50 from the speech where no one states it
  std::vector<std::string> models;         // cards of attribute models to ask (attribute_card.h)
};

[[nodiscard]] std::string pitch_word(double hz, const Thresholds& thresholds = {});
[[nodiscard]] std::string volume_word(double dbfs, const Thresholds& thresholds = {});
[[nodiscard]] std::string speed_word(double syllables_per_second,
                                     const Thresholds& thresholds = {});
[[nodiscard]] std::string noise_word(double snr_db, const Thresholds& thresholds = {});
[[nodiscard]] std::string loudness_word(double lufs, const Thresholds& thresholds = {});
[[nodiscard]] std::string reverberation_word(double c50_db, const Thresholds& thresholds = {});

// What the manifest states. Keys that are read, with their aliases: gender (sex), age, accent
// (dialect), emotion (style), intent, language, pitch, volume (energy), loudness, speaking_speed (speed),
// noise_level, snr_db (snr), reverberation, c50_db (c50), duration. Numbers keep their unit; words are
// kept as they are written; null and empty values count as absent. "confidence", an object of numbers
// from 0 to 1 by attribute, says how sure the annotations are; what it does not name is certain.
[[nodiscard]] Metadata annotate(const ManifestRow& row, const Thresholds& thresholds = {});

// What the sound itself tells: pitch, volume, loudness, speaking_speed (when a transcription is given),
// noise_level, reverberation, speech_activity and duration. Attributes that cannot be measured are absent.
[[nodiscard]] Metadata measure_metadata(const Waveform& waveform, std::string_view transcription,
                                        const MetadataOptions& options = {});

// The reverberation of a room whose impulse response is known: C50 from its direct sound on. Throws
// DataError for a response that is silent.
[[nodiscard]] Attribute measure_reverberation(const Waveform& impulse_response,
                                              const Thresholds& thresholds = {});

// All attributes of both; of two of the same name the first's: an annotation goes before a measurement,
// a measurement before a model.
[[nodiscard]] Metadata merge(const Metadata& annotated, const Metadata& measured);

// The same with the words that these thresholds give what was measured. Words that were annotated, and
// those of models, stay.
[[nodiscard]] Metadata with_thresholds(Metadata metadata, const Thresholds& thresholds);

// An array of objects with the fields of Attribute; from_json throws DataError naming the field. Rows
// from before confidence and origin were kept have confidence 1 and no origin.
[[nodiscard]] nlohmann::json metadata_to_json(const Metadata& metadata);
[[nodiscard]] Metadata metadata_from_json(const nlohmann::json& json);

}  // namespace desta::datagen
