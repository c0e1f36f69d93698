#include "launch/synthetic_sets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "datagen/synthesiser.h"
#include "datagen/voices.h"
#include "runtime/core/error.h"
#include "runtime/core/progress.h"
#include "runtime/core/random.h"

namespace desta::launch {
namespace {

using datagen::Air;
using datagen::Split;
using datagen::Voice;

constexpr double kLargeRoomC50Db = 0;

void require_known_accents(const std::vector<std::string>& accents) {
  std::set<std::string> known;
  for (const auto& voice : datagen::voices(Split::kTrain)) {
    known.insert(voice.accent);
  }
  for (const auto& accent : accents) {
    if (!known.contains(accent)) {
      throw runtime::ConfigError("data.synthetic.train_accents: no voice speaks '{}'; there are {}",
                                 accent, fmt::join(known, ", "));
    }
  }
}

// Voices of a split whose accent is among `accents` (or, with `inside` false, is not).
std::vector<Voice> voices_in(Split split, const std::vector<std::string>& accents, bool inside) {
  std::vector<Voice> voices = datagen::voices(split);
  if (!accents.empty()) {
    std::erase_if(voices, [&](const Voice& voice) {
      return (std::find(accents.begin(), accents.end(), voice.accent) != accents.end()) != inside;
    });
  }
  return voices;
}

}  // namespace

std::vector<SyntheticSet> synthetic_sets(const JobConfig& config) {
  const SyntheticOptions& options = config.data.synthetic;
  require_known_accents(options.train_accents);
  std::vector<SyntheticSet> sets;
  const auto known = voices_in(Split::kTrain, options.train_accents, true);
  const auto strangers = voices_in(Split::kHeldOut, options.train_accents, true);
  // The n-th set's stream of random numbers, whatever sets are left out.
  std::uint64_t stream = 0;
  const auto add = [&](const std::string& name, std::int64_t count, Split split,
                       const std::vector<Voice>& voices, bool held_out,
                       const std::optional<Air>& air = std::nullopt) {
    ++stream;
    if (count > 0) {
      sets.push_back({name, held_out,
                      {.folder = config.speech_folder(name),
                       .split = split,
                       .count = static_cast<std::size_t>(count),
                       .seed = runtime::mix_seed(config.data_seed(), stream),
                       .voices = voices,
                       .air = air}});
    }
  };
  add("train", options.train, Split::kTrain, known, false);
  add("validation", options.validation, Split::kTrain, known, false);
  add("held-out", options.held_out, Split::kHeldOut, strangers, true);
  add("flite", options.flite, Split::kHeldOut, datagen::flite_voices(), true);
  const auto fixed = [&](const std::string& name, const Air& air) {
    add(name, options.robustness, Split::kHeldOut, strangers, true, air);
  };
  fixed("clean", {});
  for (const int snr_db : {30, 20, 10, 5, 0}) {
    fixed(fmt::format("noise-{}", snr_db), {.snr_db = snr_db, .c50_db = {}});
  }
  fixed("reverberant", {.snr_db = {}, .c50_db = kLargeRoomC50Db});
  if (!options.train_accents.empty()) {
    add("new-accents", options.robustness, Split::kHeldOut,
        voices_in(Split::kHeldOut, options.train_accents, false), true);
  }
  return sets;
}

void speak(const JobConfig& config) {
  if (!config.data.synthetic.enabled) {
    return;
  }
  datagen::Synthesiser synthesiser;
  for (const auto& set : synthetic_sets(config)) {
    runtime::ProgressBar bar("speaking " + set.name, set.corpus.count);
    datagen::write_synthetic_corpus(synthesiser, set.corpus,
                                    [&](std::size_t done, std::size_t) { bar.update(done); });
  }
}

}  // namespace desta::launch
