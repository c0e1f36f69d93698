#include "datagen/corpora.h"

#include <algorithm>
#include <array>

#include "datagen/corpus_rows.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

using runtime::ConfigError;
using runtime::DataError;

struct KnownCorpus {
  Corpus corpus;
  void (*read)(CorpusRows&);
};

constexpr auto kKnown = std::to_array<KnownCorpus>({
    {{"accentdb", "AccentDB 1.0", "data/<accent>/speaker_NN/*.wav", "accent"}, read_accentdb},
    {{"dailytalk", "DailyTalk", "metadata.json, data/N/*.wav", "emotion, intent"}, read_dailytalk},
    {{"iemocap", "IEMOCAP", "Session1/ with dialog/ and sentences/, Session2/, ...",
      "gender, emotion"},
     read_iemocap},
    {{"prompttts", "PromptSpeech of PromptTTS, real version", "Real_*.csv, LibriTTS/",
      "gender, pitch, speaking_speed, volume"},
     read_prompttts},
    {{"textrolspeech", "TextrolSpeech", "caption/*.csv and the folders that they name",
      "gender, emotion, pitch, speaking_speed, volume"},
     read_textrolspeech},
    {{"vctk", "VCTK 0.92", "speaker-info.txt, wav48_silence_trimmed/ (or wav48/), txt/",
      "gender, age, accent"},
     read_vctk},
    {{"voxceleb", "VoxCeleb 1 and 2",
      "vox1_meta.csv or vox2_meta.csv, wav/ (or dev/wav/, test/wav/)", "gender"},
     read_voxceleb},
});

constexpr auto kCorpora = [] {
  std::array<Corpus, kKnown.size()> corpora;
  std::ranges::transform(kKnown, corpora.begin(), &KnownCorpus::corpus);
  return corpora;
}();

const KnownCorpus& known_corpus(std::string_view name) {
  const auto found =
      std::ranges::find(kKnown, name, [](const KnownCorpus& known) { return known.corpus.name; });
  if (found == kKnown.end()) {
    std::string names;
    for (const Corpus& corpus : kCorpora) {
      names += (names.empty() ? "" : ", ") + std::string(corpus.name);
    }
    throw ConfigError("corpus '{}' is not known; these are: {}", name, names);
  }
  return *found;
}

}  // namespace

std::span<const Corpus> corpora() { return kCorpora; }

ManifestReport read_corpus(std::string_view name, const std::filesystem::path& root) {
  const auto& [corpus, read] = known_corpus(name);
  std::error_code error;
  if (!std::filesystem::is_directory(root, error)) {
    throw DataError("{}: no such folder; the root of {} holds {}", root.string(), corpus.title,
                    corpus.holds);
  }
  CorpusRows rows(corpus.name, std::filesystem::absolute(root).lexically_normal());
  read(rows);
  ManifestReport report = std::move(rows).report();
  if (report.rows.empty()) {
    throw DataError(
        "{}: not one recording of {}; its root holds {}{}", root.string(), corpus.title,
        corpus.holds,
        report.problems.empty() ? "" : "; the first problem: " + report.problems.front());
  }
  return report;
}

ManifestReport read_recordings(const std::string& source) {
  const auto colon = source.find(':');
  const std::string name = source.substr(0, colon);
  const bool known = std::ranges::any_of(corpora(), [&](const Corpus& c) { return c.name == name; });
  return colon != std::string::npos && known ? read_corpus(name, source.substr(colon + 1))
                                             : read_manifest(source);
}

}  // namespace desta::datagen
