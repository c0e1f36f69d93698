// PromptSpeech, the data set of PromptTTS, in its real version: styles of LibriTTS utterances. (The
// sound of the synthesised version was not published.)
//
//   Real_training.csv, Real_test.csv   item_name, spk_id, gender (M, F), pitch and energy (low,
//                                      normal, high), speaking_speed (slow, normal, fast), ...
//   LibriTTS/train-clean-100/19/198/19_198_000000_000000.wav
//   LibriTTS/train-clean-100/19/198/19_198_000000_000000.normalized.txt
//
// An utterance is looked for in each of LibriTTS's parts. Its words are those of LibriTTS. The
// grades are thirds of the corpus, as its authors measured them: they do not follow our thresholds.
// Sources: speechresearch.github.io/prompttts; Guo et al., "PromptTTS", ICASSP 2023; openslr.org/60
// (LibriTTS).
#include <algorithm>

#include "datagen/corpus_rows.h"
#include "datagen/corpus_table.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::DataError;

constexpr auto kSpeeds =
    std::to_array<CorpusWord>({{"slow", "Slow"}, {"normal", "Normal"}, {"fast", "Fast"}});

// "19_198_000000_000000" -> {"19", "198"}: speaker and chapter.
std::pair<std::string, std::string> speaker_and_chapter(const std::string& item,
                                                        const std::string& where) {
  const std::size_t first = item.find('_');
  const std::size_t second = first == std::string::npos ? first : item.find('_', first + 1);
  if (second == std::string::npos || first == 0 || second == first + 1 || item.size() > 100 ||
      item.find_first_not_of("0123456789_") != std::string::npos) {
    throw DataError("{}: item_name {} is no utterance of LibriTTS (speaker_chapter_paragraph_part)",
                    where, shown(item));
  }
  return {item.substr(0, first), item.substr(first + 1, second - first - 1)};
}

void read_styles(CorpusRows& rows, const fs::path& path, const std::vector<fs::path>& parts) {
  CorpusTable table(path);
  const std::size_t item = table.column({"item_name"});
  const std::size_t gender = table.column({"gender"});
  const std::size_t pitch = table.column({"pitch"});
  const std::size_t speed = table.column({"speaking_speed"});
  const std::size_t volume = table.column({"energy"});
  while (table.next()) {
    const auto [speaker, chapter] = speaker_and_chapter(table[item], table.where());
    const fs::path below = fs::path(speaker) / chapter / (table[item] + ".wav");
    const auto part =
        std::ranges::find_if(parts, [&](const fs::path& part) { return is_file(part / below); });
    if (part == parts.end()) {
      rows.note("left out: recordings that are in no part of LibriTTS here", table[item]);
      continue;
    }
    nlohmann::json fields = {{"speaker", speaker}};
    rows.set_word(fields, "gender", kGenderWords, table[gender]);
    rows.set_word(fields, "pitch", kGradeWords, table[pitch]);
    rows.set_word(fields, "speaking_speed", kSpeeds, table[speed]);
    rows.set_word(fields, "volume", kGradeWords, table[volume]);
    const fs::path audio = *part / below;
    rows.add(audio, first_line(fs::path(audio).replace_extension(".normalized.txt")),
             std::move(fields));
  }
}

}  // namespace

void read_prompttts(CorpusRows& rows) {
  const std::vector<fs::path> parts = listing(rows.root() / "LibriTTS");
  for (const fs::path& path : listing(rows.root())) {
    const std::string name = lower(path.filename().string());
    if (name.starts_with("real_") && name.ends_with(".csv")) {
      read_styles(rows, path, parts);
    }
  }
}

}  // namespace desta::datagen
