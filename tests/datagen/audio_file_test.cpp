#include "datagen/audio_file.h"

#include <gtest/gtest.h>
#include <sndfile.h>
#include <sys/resource.h>

#include <cstring>
#include <fstream>

#include "datagen/pitch.h"
#include "datagen/speech_level.h"
#include "runtime/core/random.h"
#include "test_files.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::DataError;
using runtime::InternalError;

// Writes interleaved samples in any format of libsndfile.
void write_sound(const fs::path& path, int format, int rate, int channels,
                 const std::vector<float>& interleaved) {
  SF_INFO info{};
  info.samplerate = rate;
  info.channels = channels;
  info.format = format;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  ASSERT_NE(file, nullptr) << sf_strerror(nullptr);
  const auto count = static_cast<sf_count_t>(interleaved.size());
  EXPECT_EQ(sf_write_float(file, interleaved.data(), count), count);
  sf_close(file);
}

long resident_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// Bytes that this process has read from files so far, wherever they were.
std::int64_t bytes_read() {
  std::ifstream counters("/proc/self/io");
  std::string name;
  std::int64_t bytes = -1;
  counters >> name >> bytes;
  EXPECT_EQ(name, "rchar:");
  return bytes;
}

// A WAV of silence whose bytes are a hole in the disk: 8 hours cost nothing to make.
void write_sparse_wav(const fs::path& path, std::uint32_t seconds) {
  write_wav(path, Waveform{std::vector<float>(16), kSampleRate});
  const std::uint32_t bytes = seconds * 2 * kSampleRate;
  fs::resize_file(path, 44 + static_cast<std::uintmax_t>(bytes));
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  const auto put = [&](std::streamoff at, std::uint32_t value) {
    char little[4];
    std::memcpy(little, &value, 4);
    file.seekp(at);
    file.write(little, 4);
  };
  put(4, 36 + bytes);
  put(40, bytes);
}

TEST(AudioFile, WavRoundTripIsExactTo16Bits) {
  const TestFolder folder;
  const Waveform wave = sine(220, 1.0, -20);
  write_wav(folder / "a.wav", wave);
  const Waveform back = read_audio(folder / "a.wav");
  ASSERT_EQ(back.samples.size(), wave.samples.size());
  EXPECT_EQ(back.sample_rate, 16000);
  for (std::size_t i = 0; i < back.samples.size(); ++i) {
    ASSERT_NEAR(back.samples[i], wave.samples[i], 1.01 / 32768.0);
  }
  const AudioInfo info = audio_info(folder / "a.wav");
  EXPECT_DOUBLE_EQ(info.seconds, 1.0);
  EXPECT_EQ(info.channels, 1);
  EXPECT_EQ(info.sample_rate, 16000);
}

TEST(AudioFile, ClipsRatherThanWrapsAround) {
  const TestFolder folder;
  write_wav(folder / "a.wav", Waveform{{2.0F, -2.0F, 0.0F}, kSampleRate});
  const Waveform back = read_audio(folder / "a.wav");
  EXPECT_NEAR(back.samples[0], 1.0F, 1e-4);
  EXPECT_NEAR(back.samples[1], -1.0F, 1e-4);
}

TEST(AudioFile, StereoAt48kHzBecomesMonoAt16kHz) {
  const TestFolder folder;
  const Waveform left = sine(330, 2.0, -20, 48000);
  std::vector<float> both;
  for (const float sample : left.samples) {
    both.push_back(sample);
    both.push_back(0.0F);  // the mean of the channels is half: -6.02 dB
  }
  write_sound(folder / "s.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_24, 48000, 2, both);
  const Waveform mono = read_audio(folder / "s.wav");
  EXPECT_NEAR(mono.seconds(), 2.0, 0.001);
  EXPECT_NEAR(rms_dbfs(mono.samples), -26.02, 0.05);
  EXPECT_NEAR(*median_pitch(mono.samples, 16000), 330.0, 1.0);
}

TEST(AudioFile, ReadsFlacOggAndMp3) {
  const TestFolder folder;
  const Waveform wave = sine(220, 2.0, -20, 44100);
  const std::pair<const char*, int> formats[] = {
      {"a.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16},
      {"a.ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS},
      {"a.mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III}};
  for (const auto& [name, format] : formats) {
    write_sound(folder / name, format, 44100, 1, wave.samples);
    const Waveform back = read_audio(folder / name);
    EXPECT_NEAR(back.seconds(), 2.0, 0.1) << name;
    EXPECT_NEAR(*median_pitch(back.samples, 16000), 220.0, 1.0) << name;
  }
}

TEST(AudioFile, NamesTheFileThatCannotBeRead) {
  const TestFolder folder;
  write_text(folder / "empty.wav", "");
  write_text(folder / "text.wav", "This is not a sound. It is a sentence, and a long one.");
  write_sound(folder / "none.wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, 16000, 1, {});
  for (const char* name : {"missing.wav", "empty.wav", "text.wav", "none.wav", "."}) {
    const std::string message =
        message_of<DataError>([&] { static_cast<void>(read_audio(folder / name)); });
    EXPECT_NE(message.find((folder / name).string()), std::string::npos) << message;
  }
  EXPECT_THROW(static_cast<void>(audio_info(folder / "text.wav")), DataError);
  EXPECT_THROW(static_cast<void>(audio_info(folder / "missing.wav")), DataError);
}

TEST(AudioFile, RefusesSamplesThatAreNotFinite) {
  const TestFolder folder;
  std::vector<float> samples(1000, 0.1F);
  samples[500] = std::nanf("");
  write_sound(folder / "nan.wav", SF_FORMAT_WAV | SF_FORMAT_FLOAT, 16000, 1, samples);
  const std::string message =
      message_of<DataError>([&] { static_cast<void>(read_audio(folder / "nan.wav")); });
  EXPECT_NE(message.find("not a finite number"), std::string::npos);
  EXPECT_THROW(write_wav(folder / "out.wav", Waveform{samples, kSampleRate}), DataError);
}

TEST(AudioFile, ReportsADamagedFlac) {
  const TestFolder folder;
  runtime::Random random(1);
  std::vector<float> noise(160000);
  for (float& sample : noise) {
    sample = static_cast<float>(0.1 * random.normal());
  }
  write_sound(folder / "a.flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, 16000, 1, noise);
  std::fstream file(folder / "a.flac", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(100000);
  file << std::string(30000, 'x');
  file.close();
  Waveform read;
  try {
    read = read_audio(folder / "a.flac");
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("a.flac"), std::string::npos);
    return;
  }
  EXPECT_LE(read.seconds(),
            10.0);  // a decoder that steps over the damage gives no more than there was
}

TEST(AudioFile, ReadsTheStartOfEightHoursAndNoMoreInBoundedMemory) {
  const TestFolder folder;
  write_sparse_wav(folder / "day.wav", 8 * 3600);
  EXPECT_NEAR(audio_info(folder / "day.wav").seconds, 8 * 3600, 1);
  const long before = resident_kib();
  const std::int64_t read_before = bytes_read();
  const Waveform start = read_audio(folder / "day.wav", 30);
  EXPECT_LT(bytes_read() - read_before, 4 << 20);
  EXPECT_NEAR(start.seconds(), 30, 1e-9);
  EXPECT_LT(resident_kib() - before, 64 * 1024);
  const std::string message =
      message_of<DataError>([&] { static_cast<void>(read_audio(folder / "day.wav")); });
  EXPECT_NE(message.find("28800 s long"), std::string::npos) << message;
}

TEST(AudioFile, StreamsAnEightHourFlac) {
  const TestFolder folder;
  SF_INFO info{};
  info.samplerate = 8000;
  info.channels = 1;
  info.format = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
  SNDFILE* file = sf_open((folder / "day.flac").c_str(), SFM_WRITE, &info);
  ASSERT_NE(file, nullptr);
  const std::vector<short> minute(8000 * 60, 1000);
  for (int i = 0; i < 8 * 60; ++i) {
    sf_write_short(file, minute.data(), static_cast<sf_count_t>(minute.size()));
  }
  sf_close(file);
  const long before = resident_kib();
  const std::int64_t read_before = bytes_read();
  const Waveform start = read_audio(folder / "day.flac", 30);
  EXPECT_LT(bytes_read() - read_before, 4 << 20);
  EXPECT_NEAR(start.seconds(), 30, 0.01);
  EXPECT_LT(resident_kib() - before, 64 * 1024);
}

TEST(AudioFile, AFullDiskLeavesNothingBehind) {
  const TestFolder folder;
  {
    const FileSizeLimit limit(4096);
    EXPECT_THROW(write_wav(folder / "a.wav", sine(220, 1.0, -20)), InternalError);
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace desta::datagen
