// How far measured metadata lies from the truth, and how fast it is measured.
//
//   bench_metadata errors [CLIPS]   error tables on speech whose truth is known (voices never used for fitting)
//   bench_metadata speed [CLIPS]    times real time, for each measure and all, on one core
//   bench_metadata fit [CLIPS]      the coefficients of datagen/reverberation.cpp, from training voices
#include <cstdlib>
#include <cstring>
#include <map>
#include <numbers>

#include "bench/figure.h"
#include "bench/image_source.h"
#include "datagen/fft.h"
#include "datagen/loudness.h"
#include "datagen/measurement.h"
#include "datagen/metadata.h"
#include "datagen/pitch.h"
#include "datagen/reverberation.h"
#include "datagen/speech_activity.h"
#include "datagen/speech_level.h"
#include "datagen/synthetic_speech.h"
#include "runtime/core/error.h"

namespace {

using namespace desta;
using namespace desta::datagen;

// ---- speech with a truth ----------------------------------------------------------------------

enum class Room { kNone, kExponential, kImageSource };

struct Clip {
  Waveform wave;
  std::string text;
  double hz = 0;                // planned
  double dbfs = 0;              // of the clean speech
  std::optional<double> snr_db;
  NoiseKind noise = NoiseKind::kWhite;
  std::optional<double> c50_db;
  Room room = Room::kNone;
  double speech_seconds = 0;    // of the clean speech, rests shorter than 0.4 s counted
  std::size_t syllables = 0;    // vowels that were spoken; 0: not known (flite)
};

// Frames of 10 ms within 45 dB of the loudest, rests below 0.4 s closed: of digital silence around
// synthetic speech that is the speech.
double spoken_seconds(const Waveform& clean) {
  std::vector<double> power;
  for (std::size_t at = 0; at + 160 <= clean.samples.size(); at += 160) {
    power.push_back(rms_dbfs(std::span(clean.samples).subspan(at, 160)));
  }
  const double limit = *std::ranges::max_element(power) - 45.0;
  std::size_t total = 0;
  std::optional<std::size_t> last;
  for (std::size_t i = 0; i < power.size(); ++i) {
    if (power[i] >= limit) {
      total += last && i - *last < 40 ? i - *last : 1;
      last = i;
    }
  }
  return 0.01 * static_cast<double>(total);
}

// espeak-ng's vowels begin with one of these in its English voices (a syllabic consonant ends with -).
std::size_t vowels_of(const std::vector<std::string>& phonemes) {
  std::size_t count = 0;
  for (const std::string& phoneme : phonemes) {
    count += !phoneme.empty() && (std::strchr("aAeEiIoOuUV03@", phoneme[0]) != nullptr ||
                                  phoneme.ends_with('-'))
                 ? 1
                 : 0;
  }
  return count;
}

std::vector<Clip> make_clips(Synthesiser& synthesiser, Split split, const std::vector<Voice>& voices,
                             std::size_t count, std::uint64_t seed) {
  runtime::Random random(seed);
  std::vector<Clip> clips;
  while (clips.size() < count) {
    UtterancePlan plan = plan_utterance(random, split, voices, Air{});
    Clip clip;
    clip.text = plan.sentence;
    clip.hz = pitch_of(plan.voice, plan.settings.pitch);
    clip.wave = render(synthesiser, plan, random);
    clip.dbfs = plan.level_dbfs;
    clip.speech_seconds = spoken_seconds(clip.wave);
    if (plan.voice.engine == "espeak") {
      clip.syllables = vowels_of(synthesiser.phonemes(plan.sentence, plan.voice));
    }
    clip.room = static_cast<Room>(random.below(3));
    if (clip.room != Room::kNone) {
      const auto response =
          clip.room == Room::kExponential
              ? make_impulse_response(random.uniform(-3, 27), clip.wave.sample_rate, random)
              : bench::draw_image_source_response(clip.wave.sample_rate, random);
      clip.c50_db = c50_of(response, clip.wave.sample_rate);
      const std::size_t before = clip.wave.samples.size();
      clip.wave.samples = convolve(clip.wave.samples, response);
      clip.wave.samples.resize(std::min(clip.wave.samples.size(), before + 6400));
      set_level(clip.wave, clip.dbfs);
    }
    if (random.chance(0.75)) {
      clip.snr_db = random.uniform(2, 35);
      clip.noise = static_cast<NoiseKind>(random.below(4));
      add_noise(clip.wave, *clip.snr_db, clip.noise, random);
    }
    limit_peak(clip.wave);
    clips.push_back(std::move(clip));
  }
  return clips;
}

// A voice whose pitch is known sample by sample: pulses of a wandering rate through four formants.
// Returns the median of that rate over the sounding time in `hz`.
Waveform make_voice(double base_hz, runtime::Random& random, double& hz) {
  constexpr std::array<double, 4> kFormants = {600, 1400, 2500, 3500};
  constexpr std::array<double, 4> kWidths = {80, 100, 140, 200};
  Waveform wave;
  wave.samples.assign(3 * kSampleRate, 0.0F);
  std::vector<double> rates;
  double phase = 0.0;
  const double swing = random.uniform(0.02, 0.12);
  for (std::size_t i = 0; i < wave.samples.size(); ++i) {
    const double t = static_cast<double>(i) / kSampleRate;
    const double rate = base_hz * (1.0 + swing * std::sin(2 * std::numbers::pi * 0.7 * t) - 0.05 * t);
    const bool sounding = std::fmod(t, 0.4) < 0.28;  // some seven syllables
    phase += rate / kSampleRate;
    if (phase >= 1.0) {
      phase -= 1.0;
      wave.samples[i] = sounding ? 1.0F : 0.0F;
    }
    if (sounding) {
      rates.push_back(rate);
    }
  }
  for (std::size_t f = 0; f < kFormants.size(); ++f) {
    const double radius = std::exp(-std::numbers::pi * kWidths[f] / kSampleRate);
    const double a1 = 2 * radius * std::cos(2 * std::numbers::pi * kFormants[f] / kSampleRate);
    const double a2 = -radius * radius;
    double y1 = 0;
    double y2 = 0;
    for (float& sample : wave.samples) {
      const double y = (1 - a1 - a2) * sample + a1 * y1 + a2 * y2;
      y2 = y1;
      y1 = y;
      sample = static_cast<float>(y);
    }
  }
  set_level(wave, -26);
  hz = bench::quantile(rates, 0.5);
  return wave;
}

// ---- tables -----------------------------------------------------------------------------------

struct Errors {
  std::size_t asked = 0;
  std::vector<double> errors;
  std::size_t words_right = 0;  // without a word to be right: within 10 of the truth
  double confidence = 0;

  void add(const Metadata& metadata, const char* name, double truth, const std::string& word,
           bool relative = false) {
    ++asked;
    if (const Attribute* found = find_attribute(metadata, name)) {
      const double error = *found->number - truth;
      errors.push_back(relative ? 100 * error / truth : error);
      words_right += (word.empty() ? std::abs(errors.back()) < 10 : found->word == word) ? 1 : 0;
      confidence += found->confidence;
    }
  }
};

void print_table(const std::string& title, const std::map<std::string, Errors>& table) {
  fmt::print("\n{}\n{:54} {:>6} {:>7} {:>8} {:>8} {:>8} {:>9} {:>10}\n", title, "", "clips", "given",
             "bias", "sd", "95%|e|", "word", "confidence");
  for (const auto& [name, e] : table) {
    if (e.errors.empty()) {
      fmt::print("{:54} {:>6} {:>6.0f}%\n", name, e.asked, 0.0);
      continue;
    }
    const auto n = static_cast<double>(e.errors.size());
    double mean = 0;
    double squares = 0;
    std::vector<double> sizes;
    for (const double error : e.errors) {
      mean += error / n;
      squares += error * error / n;
      sizes.push_back(std::abs(error));
    }
    fmt::print("{:54} {:>6} {:>6.0f}% {:>8.2f} {:>8.2f} {:>8.2f} {:>8.1f}% {:>9.1f}%\n", name, e.asked,
               100.0 * n / static_cast<double>(e.asked), mean,
               std::sqrt(std::max(0.0, squares - mean * mean)), bench::quantile(sizes, 0.95),
               100.0 * static_cast<double>(e.words_right) / n, 100.0 * e.confidence / n);
  }
}

std::string snr_band(const Clip& clip) {
  return !clip.snr_db         ? "no noise"
         : *clip.snr_db >= 20 ? "20 to 35 dB"
         : *clip.snr_db >= 10 ? "10 to 20 dB"
                              : "2 to 10 dB";
}

void print_errors(const std::string& who, const std::vector<Clip>& clips) {
  std::map<std::string, Errors> table;
  for (const Clip& clip : clips) {
    const Metadata m = measure_metadata(clip.wave, clip.text);
    table["pitch, planned [%], " + snr_band(clip)].add(m, "pitch", clip.hz, pitch_word(clip.hz), true);
    table["volume [dB]"].add(m, "volume", clip.dbfs, volume_word(clip.dbfs));
    const double share = 100 * clip.speech_seconds / clip.wave.seconds();
    table["speech_activity [% of the time], " + snr_band(clip)].add(m, "speech_activity", share, "");
    if (clip.room == Room::kNone && !clip.snr_db) {
      table["loudness less active level [LU]"].add(m, "loudness", clip.dbfs, "");
    }
    if (clip.room == Room::kNone) {
      if (clip.syllables > 0) {
        const double rate = static_cast<double>(clip.syllables) / clip.speech_seconds;
        table["speaking_speed [%], " + snr_band(clip)].add(m, "speaking_speed", rate,
                                                           speed_word(rate), true);
      }
      if (clip.snr_db) {
        table[fmt::format("noise_level [dB], {}", name_of(clip.noise))].add(
            m, "noise_level", *clip.snr_db, noise_word(*clip.snr_db));
      }
    }
    if (clip.c50_db) {
      // Estimates end at 25 dB: drier rooms than that are all the same.
      const double truth = std::clamp(*clip.c50_db, -5.0, 25.0);
      table[fmt::format("reverberation [dB of C50], {}, {}",
                        clip.room == Room::kExponential ? "exponential" : "image source",
                        snr_band(clip))]
          .add(m, "reverberation", truth, reverberation_word(truth));
    } else {
      table["reverberation of speech without a room"].add(m, "reverberation", 25,
                                                          reverberation_word(25));
    }
  }
  print_table(who, table);
}

void print_pitch_errors() {
  std::map<std::string, Errors> table;
  runtime::Random random(5);
  for (const std::optional<double> snr : {std::optional<double>(), {20.0}, {10.0}, {5.0}}) {
    for (int i = 0; i < 200; ++i) {
      double hz = 0;
      Waveform wave = make_voice(random.uniform(80, 350), random, hz);
      if (snr) {
        add_noise(wave, *snr, static_cast<NoiseKind>(random.below(4)), random);
      }
      table[snr ? fmt::format("pitch [%], noise at {:2} dB", *snr) : "pitch [%], no noise"].add(
          measure_metadata(wave, ""), "pitch", hz, pitch_word(hz), true);
    }
  }
  print_table("pulses of a known rate through four formants", table);
}

void errors(std::size_t count) {
  Synthesiser synthesiser;
  print_pitch_errors();
  print_errors("espeak-ng, held-out voices",
               make_clips(synthesiser, Split::kHeldOut, voices(Split::kHeldOut), count, 3));
  print_errors("flite", make_clips(synthesiser, Split::kHeldOut, flite_voices(), count / 2, 4));
}

void speed(std::size_t count) {
  Synthesiser synthesiser;
  const auto clips = make_clips(synthesiser, Split::kHeldOut, voices(Split::kHeldOut), count, 6);
  double seconds = 0;
  for (const Clip& clip : clips) {
    seconds += clip.wave.seconds();
  }
  const auto time = [&](const char* what, const auto& measure_one) {
    std::vector<double> times;
    for (int round = 0; round < 5; ++round) {
      const auto start = bench::Clock::now();
      for (const Clip& clip : clips) {
        measure_one(clip);
      }
      times.push_back(bench::seconds_since(start));
    }
    bench::print_figure("desta", what, seconds / bench::quantile(times, 0.5), "x real time");
  };
  time("all", [](const Clip& c) { static_cast<void>(measure_metadata(c.wave, c.text)); });
  time("speech_activity, noise_level", [](const Clip& c) {
    static_cast<void>(speech_activity(c.wave.samples, c.wave.sample_rate));
  });
  time("pitch (of every frame)", [](const Clip& c) {
    static_cast<void>(median_pitch(c.wave.samples, c.wave.sample_rate));
  });
  time("volume", [](const Clip& c) {
    static_cast<void>(active_speech_level(c.wave.samples, c.wave.sample_rate));
  });
  time("loudness", [](const Clip& c) {
    static_cast<void>(integrated_loudness(c.wave.samples, c.wave.sample_rate));
  });
  time("reverberation", [](const Clip& c) {
    static_cast<void>(blind_c50(c.wave.samples, c.wave.sample_rate, 60));
  });
}

// ---- the fit ----------------------------------------------------------------------------------

void fit(std::size_t count) {
  Synthesiser synthesiser;
  constexpr double kRidge = 1e-3;
  constexpr std::size_t n = kClarityTerms;
  std::vector<std::vector<double>> a(n, std::vector<double>(n + 1));
  for (std::size_t i = 0; i < n; ++i) {
    a[i][i] = kRidge;
  }
  for (const Clip& clip : make_clips(synthesiser, Split::kTrain, voices(Split::kTrain), count, 1)) {
    const auto features = decay_features(clip.wave.samples, clip.wave.sample_rate);
    if (!clip.c50_db || !features || (clip.snr_db && *clip.snr_db < 8)) {
      continue;
    }
    const auto terms = clarity_terms(*features);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        a[i][j] += terms[i] * terms[j];
      }
      a[i][n] += terms[i] * std::clamp(*clip.c50_db, -5.0, 27.0);
    }
  }
  // Gauss and Jordan, with pivots.
  for (std::size_t column = 0; column < n; ++column) {
    std::size_t pivot = column;
    for (std::size_t row = column; row < n; ++row) {
      pivot = std::abs(a[row][column]) > std::abs(a[pivot][column]) ? row : pivot;
    }
    std::swap(a[column], a[pivot]);
    for (std::size_t row = 0; row < n; ++row) {
      const double factor = row == column ? 0.0 : a[row][column] / a[column][column];
      for (std::size_t k = column; k <= n; ++k) {
        a[row][k] -= factor * a[column][k];
      }
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    fmt::print("{:.9g}{}", a[i][n] / a[i][i], i + 1 < n ? ", " : "\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const auto count = static_cast<std::size_t>(argc > 2 ? std::atoi(argv[2]) : 0);
  try {
    if (what == "errors") {
      errors(count > 0 ? count : 1200);
    } else if (what == "speed") {
      speed(count > 0 ? count : 100);
    } else if (what == "fit") {
      fit(count > 0 ? count : 6000);
    } else {
      fmt::print(stderr, "bench_metadata: give errors, speed or fit, and how many clips\n");
      return 2;
    }
  } catch (const runtime::Error& error) {
    fmt::print(stderr, "bench_metadata: {}\n", error.what());
    return runtime::exit_code(error.kind());
  }
  return 0;
}
