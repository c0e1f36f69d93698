#include "datagen/synthesiser.h"

#include <espeak-ng/speak_lib.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <string>

#include "datagen/resample.h"
#include "runtime/core/error.h"

// flite's headers are C without guards for C++.
extern "C" {
#include <flite/flite.h>
cst_voice* register_cmu_us_awb(const char* voice_directory);
cst_voice* register_cmu_us_kal16(const char* voice_directory);
cst_voice* register_cmu_us_rms(const char* voice_directory);
cst_voice* register_cmu_us_slt(const char* voice_directory);
}

namespace desta::datagen {
namespace {

using runtime::ConfigError;
using runtime::DataError;
using runtime::InternalError;

std::atomic<bool> in_use = false;

// espeak-ng hands over its sound in pieces; `events->user_data` is what espeak_Synth was given.
int collect(short* samples, int count, espeak_EVENT* events) {
  if (samples != nullptr && count > 0) {
    auto& sound = *static_cast<std::vector<float>*>(events->user_data);
    for (int i = 0; i < count; ++i) {
      sound.push_back(static_cast<float>(samples[i]) / 32768.0F);
    }
  }
  return 0;
}

// The rate [Hz] that espeak-ng works at. It is initialised once a process and stays.
int espeak_rate() {
  static const int rate = [] {
    const int result =
        espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, nullptr, espeakINITIALIZE_DONT_EXIT);
    if (result <= 0) {
      throw InternalError("espeak-ng cannot start; is the package espeak-ng-data installed?");
    }
    espeak_SetSynthCallback(collect);
    return result;
  }();
  return rate;
}

// espeak-ng takes an unknown variant without a word, so the names are checked against its list.
bool has_variant(const std::string& variant) {
  static const std::vector<std::string> known = [] {
    espeak_VOICE wanted{};
    wanted.languages = "variant";
    std::vector<std::string> names;
    for (const espeak_VOICE** voice = espeak_ListVoices(&wanted); *voice != nullptr; ++voice) {
      names.emplace_back((*voice)->identifier);
    }
    return names;
  }();
  return std::find(known.begin(), known.end(), "!v/" + variant) != known.end();
}

void check(espeak_ERROR error, std::string_view what) {
  if (error != EE_OK) {
    throw InternalError("espeak-ng: {} failed with error {}", what, static_cast<int>(error));
  }
}

void choose_espeak(const Voice& voice) {
  const std::string name = voice.language + "+" + voice.variant;
  if (!has_variant(voice.variant) || espeak_SetVoiceByName(name.c_str()) != EE_OK) {
    throw DataError("espeak-ng has no voice '{}'; is the package espeak-ng-data complete?", name);
  }
}

std::vector<float> speak_espeak(const std::string& text, const Voice& voice,
                                const SpeechSettings& settings) {
  const int rate = espeak_rate();
  choose_espeak(voice);
  const int words = static_cast<int>(std::lround(settings.words_per_minute));
  check(espeak_SetParameter(espeakRATE, words, 0), "setting the rate");
  check(espeak_SetParameter(espeakPITCH, settings.pitch, 0), "setting the pitch");
  check(espeak_SetParameter(espeakVOLUME, settings.amplitude, 0), "setting the amplitude");
  std::vector<float> sound;
  check(espeak_Synth(text.c_str(), text.size() + 1, 0, POS_CHARACTER, 0, espeakCHARS_UTF8, nullptr,
                     &sound),
        "speaking");
  check(espeak_Synchronize(), "speaking");
  return resample(sound, rate, kSampleRate);
}

cst_voice* flite_voice(const std::string& name) {
  static const std::map<std::string, cst_voice*, std::less<>> known = [] {
    flite_init();
    return std::map<std::string, cst_voice*, std::less<>>{{"awb", register_cmu_us_awb(nullptr)},
                                                          {"kal", register_cmu_us_kal16(nullptr)},
                                                          {"rms", register_cmu_us_rms(nullptr)},
                                                          {"slt", register_cmu_us_slt(nullptr)}};
  }();
  const auto found = known.find(name);
  if (found == known.end()) {
    throw DataError("flite has no voice '{}'; it has awb, kal, rms and slt", name);
  }
  return found->second;
}

std::vector<float> speak_flite(const std::string& text, const Voice& voice,
                               const SpeechSettings& settings) {
  cst_voice* engine = flite_voice(voice.variant);
  // flite's own pace is about 170 words a minute; the stretch multiplies every duration.
  flite_feat_set_float(engine->features, "duration_stretch",
                       static_cast<float>(170.0 / settings.words_per_minute));
  const double shift = std::exp2((settings.pitch - 50) / 50.0);
  if (voice.variant == "kal") {  // a diphone voice: its pitch is a target, 106 Hz of itself
    flite_feat_set_float(engine->features, "int_f0_target_mean", static_cast<float>(106.0 * shift));
  } else {
    flite_feat_set_float(engine->features, "f0_shift", static_cast<float>(shift));
  }
  const std::unique_ptr<cst_wave, decltype(&delete_wave)> wave(
      flite_text_to_wave(text.c_str(), engine), delete_wave);
  if (wave == nullptr) {
    throw DataError("flite cannot speak '{}'", text);
  }
  std::vector<float> sound(static_cast<std::size_t>(wave->num_samples));
  std::transform(wave->samples, wave->samples + wave->num_samples, sound.begin(),
                 [](short sample) { return static_cast<float>(sample) / 32768.0F; });
  return resample(sound, wave->sample_rate, kSampleRate);
}

// Cuts what is more than 60 dB below the peak at both ends, but for a short rest.
void trim(std::vector<float>& sound) {
  constexpr std::size_t kBefore = kSampleRate * 15 / 100;
  constexpr std::size_t kAfter = kSampleRate * 20 / 100;
  float peak = 0.0F;
  for (const float sample : sound) {
    peak = std::max(peak, std::abs(sample));
  }
  const auto loud = [floor = peak * 1e-3F](float sample) { return std::abs(sample) > floor; };
  const auto first = std::find_if(sound.begin(), sound.end(), loud);
  const auto last = std::find_if(sound.rbegin(), sound.rend(), loud).base();
  const auto end = static_cast<std::size_t>(last - sound.begin()) + kAfter;
  const auto start = static_cast<std::size_t>(first - sound.begin());
  sound.resize(end, 0.0F);  // pads with silence where the engine gave less
  if (start > kBefore) {
    sound.erase(sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(start - kBefore));
  } else {
    sound.insert(sound.begin(), kBefore - start, 0.0F);
  }
}

}  // namespace

Synthesiser::Synthesiser() {
  if (in_use.exchange(true)) {
    throw InternalError("a second Synthesiser in one process: espeak-ng can serve only one");
  }
  try {
    espeak_rate();
  } catch (...) {
    in_use = false;
    throw;
  }
}

Synthesiser::~Synthesiser() { in_use = false; }

Waveform Synthesiser::speak(std::string_view text, const Voice& voice,
                            const SpeechSettings& settings) {
  if (!(settings.words_per_minute >= espeakRATE_MINIMUM &&
        settings.words_per_minute <= espeakRATE_MAXIMUM)) {
    throw ConfigError("speech rate {} words a minute: it must lie between {} and {}",
                      settings.words_per_minute, espeakRATE_MINIMUM, espeakRATE_MAXIMUM);
  }
  if (settings.pitch < 0 || settings.pitch > 99 || settings.amplitude < 0 ||
      settings.amplitude > 200) {
    throw ConfigError("speech pitch {} (0 to 99) or amplitude {} (0 to 200) out of range",
                      settings.pitch, settings.amplitude);
  }
  if (voice.engine != "espeak" && voice.engine != "flite") {
    throw DataError("voice '{}': unknown engine '{}' (known: espeak, flite)", voice.id,
                    voice.engine);
  }
  const std::string words(text);
  std::vector<float> sound = voice.engine == "espeak" ? speak_espeak(words, voice, settings)
                                                      : speak_flite(words, voice, settings);
  if (std::none_of(sound.begin(), sound.end(), [](float sample) { return sample != 0.0F; })) {
    throw DataError("voice '{}' gives no sound for the text '{}'", voice.id, words);
  }
  trim(sound);
  return Waveform{std::move(sound), kSampleRate};
}

std::vector<std::string> Synthesiser::phonemes(std::string_view text, const Voice& voice) {
  if (voice.engine != "espeak") {
    throw DataError("voice '{}': only espeak-ng tells its phonemes", voice.id);
  }
  choose_espeak(voice);
  constexpr int kSeparator = '_' << 8;
  const std::string words(text);
  std::vector<std::string> names;
  const void* rest = words.c_str();
  while (rest != nullptr) {  // a clause a call
    const char* clause = espeak_TextToPhonemes(&rest, espeakCHARS_UTF8, kSeparator);
    names.emplace_back();
    for (const char* c = clause; c != nullptr && *c != '\0'; ++c) {
      if (*c == '_' || *c == ' ') {
        names.emplace_back();
      }
      if (*c == ' ') {
        names.back() = " ";
        names.emplace_back();
      } else if (*c != '_' && *c != '\'' && *c != ',') {
        names.back() += *c;
      }
    }
    names.emplace_back(" ");
  }
  std::erase(names, "");
  names.pop_back();
  return names;
}

}  // namespace desta::datagen
