// AccentDB 1.0 (accentdb_core, accentdb_extended), an accent and a speaker a folder:
//
//   data/bangla/speaker_01/bangla_s01_001.wav
//
// with or without data/. No transcriptions are published, nor anything else of the speakers.
// Sources: accentdb.github.io, Ahamad et al., "AccentDB: A Database of Non-Native English Accents
// to Assist Neural Speech Recognition", LREC 2020; tensorflow.org/datasets/catalog/accentdb.
#include "datagen/corpus_files.h"
#include "datagen/corpus_rows.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;

// Bangla to Telugu: English as spoken by those whose first language it is; indian: metropolitan.
constexpr auto kAccents = std::to_array<CorpusWord>({{"american", "American"},
                                                     {"australian", "Australian"},
                                                     {"bangla", "Bangla"},
                                                     {"british", "British"},
                                                     {"indian", "Indian"},
                                                     {"malayalam", "Malayalam"},
                                                     {"odiya", "Odiya"},
                                                     {"telugu", "Telugu"},
                                                     {"welsh", "Welsh"}});

}  // namespace

void read_accentdb(CorpusRows& rows) {
  const fs::path data = rows.root() / "data";
  for (const fs::path& accent : listing(is_folder(data) ? data : rows.root())) {
    if (!is_folder(accent)) {
      continue;  // a licence, a list
    }
    nlohmann::json fields = nlohmann::json::object();
    rows.set_word(fields, "accent", kAccents, accent.filename().string());
    if (fields.empty()) {
      continue;
    }
    for (const fs::path& speaker : listing(accent)) {
      if (!is_folder(speaker)) {
        continue;
      }
      fields["speaker"] = (accent.filename() / speaker.filename()).generic_string();
      for (const fs::path& audio : listing(speaker)) {
        if (lower(audio.extension().string()) == ".wav") {
          rows.add_without_words(audio, fields);
        }
      }
    }
  }
}

}  // namespace desta::datagen
