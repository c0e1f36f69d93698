// Audio files: WAV, FLAC, MP3, Ogg and whatever else libsndfile reads, as 16 kHz mono.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "datagen/waveform.h"

namespace desta::datagen {

// The longest recording that is read whole: what is longer would fill memory (4 bytes a sample)
// and is refused, unless the caller says how much of it is wanted.
inline constexpr double kMaximumSecondsInMemory = 3600;

struct AudioInfo {
  double seconds = 0;
  int sample_rate = 0;  // Hz
  int channels = 0;
  std::int64_t frames = 0;
  std::string format;  // "WAV (Microsoft)", "FLAC (Free Lossless Audio Codec)", ...
};

// What the file's header says; reads no sound. Throws DataError naming the file when it is
// missing, a folder, or not audio.
[[nodiscard]] AudioInfo audio_info(const std::filesystem::path& path);

// The first `max_seconds` of the file (0: all of it), the mean of its channels, resampled to
// 16 kHz. Decodes block by block, so that the start of a recording of hours costs what the start
// costs. Throws DataError naming the file when it is missing, not audio, damaged before the end
// of what is wanted, empty, longer than kMaximumSecondsInMemory without `max_seconds`, or holds
// samples that are not finite.
[[nodiscard]] Waveform read_audio(const std::filesystem::path& path, double max_seconds = 0);

// 16-bit PCM WAV, whole or absent (see runtime/core/atomic_file.h). Samples outside [-1, 1] are
// clipped. Throws InternalError when the disk is full or the folder cannot be written, DataError
// for a waveform with samples that are not finite.
void write_wav(const std::filesystem::path& path, const Waveform& waveform);

// The bytes of a 16-bit FLAC file, which browsers play. Samples outside [-1, 1] are clipped.
[[nodiscard]] std::string encode_flac(const Waveform& waveform);

}  // namespace desta::datagen
