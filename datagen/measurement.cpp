#include "datagen/measurement.h"

#include "datagen/loudness.h"
#include "datagen/pitch.h"
#include "datagen/speech_activity.h"
#include "datagen/speech_level.h"
#include "datagen/syllables.h"

namespace desta::datagen {

Measurement measure(const Waveform& waveform, std::string_view transcription,
                    bool blind_reverberation) {
  Measurement result;
  result.seconds = waveform.seconds();
  const auto activity = speech_activity(waveform.samples, waveform.sample_rate);
  if (!activity) {
    return result;
  }
  result.pitch_hz = median_pitch(waveform.samples, waveform.sample_rate, activity->active);
  result.snr_db = activity->snr_db;
  result.speech_seconds = activity->speech_seconds;
  result.loudness_lufs = integrated_loudness(waveform.samples, waveform.sample_rate);
  if (blind_reverberation) {
    result.reverberation = blind_c50(waveform.samples, waveform.sample_rate, activity->snr_db);
  }
  if (const auto level = active_speech_level(waveform.samples, waveform.sample_rate)) {
    result.volume_dbfs = level->dbfs;
  }
  if (const std::size_t syllables = count_syllables(transcription); syllables > 0) {
    result.syllables_per_second = static_cast<double>(syllables) / activity->speech_seconds;
  }
  return result;
}

}  // namespace desta::datagen
