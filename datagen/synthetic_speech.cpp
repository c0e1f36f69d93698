#include "datagen/synthetic_speech.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace {

constexpr double kMinimumSeconds = 1.0;
constexpr double kMaximumSeconds = 7.5;

struct Band {
  double low;
  double high;
};

// Three bands each: the first below the lower threshold of its word, the last above the upper.
constexpr std::array<Band, 3> kPitchHz = {{{80, 118}, {140, 149}, {170, 250}}};
constexpr std::array<Band, 3> kWordsPerMinute = {{{80, 93}, {164, 180}, {295, 335}}};
constexpr std::array<Band, 3> kLevelDbfs = {{{-43, -38}, {-29, -26}, {-18, -16}}};
constexpr Band kModerateSnrDb = {14, 17};
constexpr Band kPoorSnrDb = {1, 5};
constexpr Band kC50Db = {2, 20};

// The setting whose pitch comes closest to `target` [Hz].
int pitch_setting(const Voice& voice, double target) {
  int best = 50;
  double best_gap = 1e9;
  for (int setting = 0; setting <= 99; ++setting) {
    const double gap = std::abs(pitch_of(voice, setting) - target);
    if (gap < best_gap) {
      best = setting;
      best_gap = gap;
    }
  }
  return best;
}

double draw(runtime::Random& random, Band band) { return random.uniform(band.low, band.high); }

int draw_pitch(runtime::Random& random, const Voice& voice) {
  const double lowest = pitch_of(voice, 0);
  const double highest = pitch_of(voice, 99);
  std::vector<Band> reachable;
  for (const Band& band : kPitchHz) {
    const Band common{std::max(band.low, lowest), std::min(band.high, highest)};
    if (common.low <= common.high) {
      reachable.push_back(common);
    }
  }
  return reachable.empty() ? 50 : pitch_setting(voice, draw(random, random.pick(reachable)));
}

const Voice& draw_voice(runtime::Random& random, const std::vector<Voice>& voices) {
  const std::string wanted = random.chance(0.5) ? "Female" : "Male";
  std::vector<const Voice*> matching;
  for (const Voice& voice : voices) {
    if (voice.gender == wanted) {
      matching.push_back(&voice);
    }
  }
  return matching.empty() ? random.pick(voices) : *random.pick(matching);
}

// English has about 5 letters a word where words a minute are counted; a second of rest and of
// lengthening at the end of the phrase is generous.
double estimated_seconds(std::string_view sentence, double words_per_minute) {
  return static_cast<double>(sentence.size()) / 5.6 * 60.0 / words_per_minute + 0.6;
}

std::string_view word_of(double value, const std::array<Band, 3>& bands,
                         const std::array<std::string_view, 3>& words) {
  for (std::size_t i = 0; i + 1 < bands.size(); ++i) {
    if (value < (bands[i].high + bands[i + 1].low) / 2) {
      return words[i];
    }
  }
  return words.back();
}

std::string plan_id(const UtterancePlan& plan) {
  return runtime::to_hex(runtime::hash64(fmt::format(
      "{}|{}|{}|{}|{}|{}|{}|{}|{}", plan.sentence, plan.voice.id, plan.settings.words_per_minute,
      plan.settings.pitch, plan.settings.amplitude, plan.level_dbfs, plan.snr_db.value_or(999.0),
      name_of(plan.noise), plan.c50_db.value_or(999.0))));
}

}  // namespace

UtterancePlan plan_utterance(runtime::Random& random, Split split,
                             const std::vector<Voice>& voices, const std::optional<Air>& air) {
  if (voices.empty()) {
    throw runtime::DataError("an utterance cannot be planned: the list of voices is empty");
  }
  UtterancePlan plan;
  plan.voice = draw_voice(random, voices);
  plan.settings.pitch = draw_pitch(random, plan.voice);
  plan.settings.words_per_minute = std::round(draw(random, random.pick(kWordsPerMinute)));
  do {
    plan.sentence = make_sentence(random, split);
  } while (estimated_seconds(plan.sentence, plan.settings.words_per_minute) > kMaximumSeconds);
  plan.level_dbfs = draw(random, random.pick(kLevelDbfs));
  const std::uint64_t noise = random.below(3);
  if (noise > 0) {
    plan.snr_db = draw(random, noise == 1 ? kModerateSnrDb : kPoorSnrDb);
    plan.noise = static_cast<NoiseKind>(random.below(4));
  }
  if (random.below(3) == 0) {
    plan.c50_db = draw(random, kC50Db);
  }
  if (air.has_value()) {
    plan.snr_db = air->snr_db;
    plan.c50_db = air->c50_db;
  }
  plan.id = plan_id(plan);
  return plan;
}

PlannedWords planned_words(const UtterancePlan& plan) {
  const double pitch = pitch_of(plan.voice, plan.settings.pitch);
  PlannedWords words;
  words.pitch = word_of(pitch, kPitchHz, {"Low", "Normal", "High"});
  words.volume = word_of(plan.level_dbfs, kLevelDbfs, {"Low", "Normal", "High"});
  words.speed =
      word_of(plan.settings.words_per_minute, kWordsPerMinute, {"Slow", "Normal", "Fast"});
  words.noise = !plan.snr_db                                                ? "Low"
                : *plan.snr_db > (kModerateSnrDb.low + kPoorSnrDb.high) / 2 ? "Moderate"
                                                                            : "High";
  return words;
}

Waveform render(Synthesiser& synthesiser, const UtterancePlan& plan, runtime::Random& random) {
  SpeechSettings settings = plan.settings;
  Waveform waveform = synthesiser.speak(plan.sentence, plan.voice, settings);
  while (waveform.seconds() > kMaximumSeconds && settings.words_per_minute < 400.0) {
    settings.words_per_minute =
        std::min(400.0, settings.words_per_minute * 1.05 * waveform.seconds() / kMaximumSeconds);
    waveform = synthesiser.speak(plan.sentence, plan.voice, settings);
  }
  if (plan.c50_db) {
    add_reverberation(waveform, *plan.c50_db, random);
  }
  const auto shortest = static_cast<std::size_t>(kMinimumSeconds * waveform.sample_rate);
  const auto longest = static_cast<std::size_t>(kMaximumSeconds * waveform.sample_rate);
  if (waveform.samples.size() < shortest) {
    const std::size_t before = (shortest - waveform.samples.size()) / 2;
    waveform.samples.insert(waveform.samples.begin(), before, 0.0F);
    waveform.samples.resize(shortest, 0.0F);
  } else if (waveform.samples.size() > longest) {
    waveform.samples.resize(longest);
  }
  set_level(waveform, plan.level_dbfs);
  if (plan.snr_db) {
    add_noise(waveform, *plan.snr_db, plan.noise, random);
  }
  limit_peak(waveform);
  return waveform;
}

}  // namespace desta::datagen
