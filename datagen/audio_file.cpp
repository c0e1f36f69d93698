#include "datagen/audio_file.h"

#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "datagen/resample.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using runtime::DataError;
using runtime::InternalError;

struct CloseSound {
  void operator()(SNDFILE* file) const { sf_close(file); }
};
using SoundFile = std::unique_ptr<SNDFILE, CloseSound>;

constexpr std::size_t kBlockFrames = 16384;

SoundFile open_for_reading(const fs::path& path, SF_INFO& info) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    throw DataError("{}: no such audio file", path.string());
  }
  if (!fs::is_regular_file(path, error)) {
    throw DataError("{}: not a file of audio", path.string());
  }
  if (fs::file_size(path, error) == 0) {
    throw DataError("{}: the audio file is empty (0 bytes)", path.string());
  }
  info = SF_INFO{};
  SoundFile file(sf_open(path.c_str(), SFM_READ, &info));
  if (file == nullptr || info.channels <= 0 || info.samplerate <= 0) {
    throw DataError("{}: cannot be read as audio: {}", path.string(), sf_strerror(file.get()));
  }
  return file;
}

void check_finite(const fs::path& path, const std::vector<float>& samples) {
  const auto bad = std::find_if(samples.begin(), samples.end(),
                                [](float sample) { return !std::isfinite(sample); });
  if (bad != samples.end()) {
    throw DataError("{}: sample {} is not a finite number", path.string(), bad - samples.begin());
  }
}

// A file in memory, as libsndfile calls it.
struct MemoryFile {
  std::string bytes;
  std::size_t at = 0;

  static MemoryFile& of(void* self) { return *static_cast<MemoryFile*>(self); }
  static sf_count_t length(void* self) { return static_cast<sf_count_t>(of(self).bytes.size()); }
  static sf_count_t tell(void* self) { return static_cast<sf_count_t>(of(self).at); }
  static sf_count_t seek(sf_count_t offset, int from, void* self) {
    const sf_count_t base = from == SEEK_SET ? 0 : from == SEEK_CUR ? tell(self) : length(self);
    of(self).at = static_cast<std::size_t>(std::max<sf_count_t>(0, base + offset));
    return tell(self);
  }
  static sf_count_t read(void* target, sf_count_t count, void* self) {
    MemoryFile& file = of(self);
    const std::size_t left = file.bytes.size() - std::min(file.at, file.bytes.size());
    const std::size_t taken = std::min(left, static_cast<std::size_t>(count));
    std::memcpy(target, file.bytes.data() + file.at, taken);
    file.at += taken;
    return static_cast<sf_count_t>(taken);
  }
  static sf_count_t write(const void* source, sf_count_t count, void* self) {
    MemoryFile& file = of(self);
    const auto length = static_cast<std::size_t>(count);
    file.bytes.resize(std::max(file.bytes.size(), file.at + length));
    std::memcpy(file.bytes.data() + file.at, source, length);
    file.at += length;
    return count;
  }
};

}  // namespace

AudioInfo audio_info(const fs::path& path) {
  SF_INFO info;
  const SoundFile file = open_for_reading(path, info);
  SF_FORMAT_INFO format{};
  format.format = info.format & SF_FORMAT_TYPEMASK;
  sf_command(file.get(), SFC_GET_FORMAT_INFO, &format, sizeof(format));
  return AudioInfo{.seconds = static_cast<double>(info.frames) / info.samplerate,
                   .sample_rate = info.samplerate,
                   .channels = info.channels,
                   .frames = info.frames,
                   .format = format.name == nullptr ? "unknown" : format.name};
}

Waveform read_audio(const fs::path& path, double max_seconds) {
  SF_INFO info;
  const SoundFile file = open_for_reading(path, info);
  const double limit = max_seconds > 0 ? max_seconds : kMaximumSecondsInMemory;
  const auto too_long = [&](double seconds) {
    return DataError(
        "{}: {:.0f} s long, more than the {:.0f} s that are read whole; cut it into "
        "utterances or set a maximum duration",
        path.string(), seconds, kMaximumSecondsInMemory);
  };
  if (max_seconds <= 0 && static_cast<double>(info.frames) / info.samplerate > limit) {
    throw too_long(static_cast<double>(info.frames) / info.samplerate);
  }
  const auto wanted = static_cast<sf_count_t>(std::ceil(limit * info.samplerate));
  Resampler resampler(info.samplerate, kSampleRate);
  const bool same_rate = info.samplerate == kSampleRate;
  std::vector<float> block(kBlockFrames * static_cast<std::size_t>(info.channels));
  std::vector<float> mono;
  Waveform result;
  sf_count_t done = 0;
  while (done < wanted) {
    const sf_count_t ask = std::min<sf_count_t>(kBlockFrames, wanted - done);
    const sf_count_t got = sf_readf_float(file.get(), block.data(), ask);
    if (sf_error(file.get()) != SF_ERR_NO_ERROR) {
      throw DataError("{}: damaged after {:.2f} s: {}", path.string(),
                      static_cast<double>(done) / info.samplerate, sf_strerror(file.get()));
    }
    if (got <= 0) {
      break;
    }
    mono.assign(static_cast<std::size_t>(got), 0.0F);
    for (std::size_t frame = 0; frame < mono.size(); ++frame) {
      for (int channel = 0; channel < info.channels; ++channel) {
        mono[frame] += block[frame * static_cast<std::size_t>(info.channels) +
                             static_cast<std::size_t>(channel)];
      }
      mono[frame] /= static_cast<float>(info.channels);
    }
    check_finite(path, mono);
    if (same_rate) {
      result.samples.insert(result.samples.end(), mono.begin(), mono.end());
    } else {
      resampler.push(mono, result.samples);
    }
    done += got;
  }
  if (done == 0) {
    throw DataError("{}: the audio file holds no samples", path.string());
  }
  if (max_seconds <= 0 && done == wanted && sf_readf_float(file.get(), block.data(), 1) > 0) {
    throw too_long(limit);  // a stream whose header does not tell its length
  }
  if (!same_rate) {
    resampler.finish(result.samples);
  }
  return result;
}

void write_wav(const fs::path& path, const Waveform& waveform) {
  check_finite(path, waveform.samples);
  runtime::publish_atomically(path, [&](const fs::path& temporary) {
    SF_INFO info{};
    info.samplerate = waveform.sample_rate;
    info.channels = 1;
    info.format = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
    SoundFile file(sf_open(temporary.c_str(), SFM_WRITE, &info));
    if (file == nullptr) {
      throw InternalError("{}: cannot write: {}", path.string(), sf_strerror(nullptr));
    }
    sf_command(file.get(), SFC_SET_CLIPPING, nullptr, SF_TRUE);
    const auto count = static_cast<sf_count_t>(waveform.samples.size());
    const sf_count_t written = sf_write_float(file.get(), waveform.samples.data(), count);
    const int closed = sf_close(file.release());
    const std::uintmax_t expected = 2 * static_cast<std::uintmax_t>(count);
    if (written != count || closed != 0 || fs::file_size(temporary) < expected) {
      throw InternalError("{}: cannot write {} samples; is the disk full?", path.string(), count);
    }
  });
}

std::string encode_flac(const Waveform& waveform) {
  SF_INFO info{};
  info.samplerate = waveform.sample_rate;
  info.channels = 1;
  info.format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
  SF_VIRTUAL_IO calls{.get_filelen = MemoryFile::length,
                      .seek = MemoryFile::seek,
                      .read = MemoryFile::read,
                      .write = MemoryFile::write,
                      .tell = MemoryFile::tell};
  MemoryFile memory;
  SoundFile file(sf_open_virtual(&calls, SFM_WRITE, &info, &memory));
  if (file == nullptr) {
    throw InternalError("FLAC: {}", sf_strerror(nullptr));
  }
  sf_command(file.get(), SFC_SET_CLIPPING, nullptr, SF_TRUE);
  const auto count = static_cast<sf_count_t>(waveform.samples.size());
  if (sf_write_float(file.get(), waveform.samples.data(), count) != count) {
    throw InternalError("FLAC: {}", sf_strerror(file.get()));
  }
  file.reset();
  return std::move(memory.bytes);
}

}  // namespace desta::datagen
