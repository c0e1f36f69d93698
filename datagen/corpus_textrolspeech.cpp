// TextrolSpeech: recordings of LibriTTS, VCTK and acted corpora, with five factors of style.
//
//   caption/random_train.csv   num, wav_fp (a path below the root), item_name, gender, pitch,
//                              tempo, energy, emotion, style_prompt, content_prompt (the words)
//
// Every table in caption/ is read; a recording that is in several counts once. pitch, tempo and
// energy are low, normal or high by the authors' thresholds (136.6 and 196.1 Hz; 0.386 and 0.252 s
// a word, less is high; RMS 0.033 and 0.051), not by ours. LibriTTS and VCTK come from elsewhere:
// what is not there is left out. Sources: github.com/jishengpeng/TextrolSpeech (README.md,
// dataprocess.py); Ji et al., "TextrolSpeech", ICASSP 2024.
#include "datagen/corpus_rows.h"
#include "datagen/corpus_table.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;

constexpr auto kTempos =
    std::to_array<CorpusWord>({{"low", "Slow"}, {"normal", "Normal"}, {"high", "Fast"}});

void read_captions(CorpusRows& rows, const fs::path& path) {
  CorpusTable table(path);
  const std::size_t audio = table.column({"wav_fp"});
  const std::size_t gender = table.column({"gender"});
  const std::size_t pitch = table.column({"pitch"});
  const std::size_t tempo = table.column({"tempo"});
  const std::size_t volume = table.column({"energy"});
  const std::size_t emotion = table.column({"emotion"});
  const std::size_t words = table.column({"content_prompt"});
  while (table.next()) {
    nlohmann::json fields = nlohmann::json::object();
    rows.set_word(fields, "gender", kGenderWords, table[gender]);
    rows.set_word(fields, "pitch", kGradeWords, table[pitch]);
    rows.set_word(fields, "speaking_speed", kTempos, table[tempo]);
    rows.set_word(fields, "volume", kGradeWords, table[volume]);
    rows.set_word(fields, "emotion", kEmotionWords, table[emotion]);
    rows.add(inside(rows.root(), table[audio], table.where()), table[words], std::move(fields));
  }
}

}  // namespace

void read_textrolspeech(CorpusRows& rows) {
  for (const fs::path& path : listing(rows.root() / "caption")) {
    if (lower(path.extension().string()) == ".csv") {
      read_captions(rows, path);
    }
  }
}

}  // namespace desta::datagen
