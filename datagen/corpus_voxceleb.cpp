// VoxCeleb 1 and 2: interviews of celebrities, cut into utterances. No transcriptions.
//
//   vox1_meta.csv    VoxCeleb1 ID, VGGFace1 ID, Gender (m, f), Nationality, Set, apart by tabs
//   vox2_meta.csv    VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set, apart by commas
//   wav/id10270/5r0dWxy17C8/00001.wav
//
// Either table, or both. The sound lies in wav/ or aac/, below the root or its dev/ and test/.
// VoxCeleb 2 is published as AAC (.m4a), which libsndfile does not read: convert it to .wav beside.
// A nationality is no accent (and the table takes the French for Norwegians): it is kept as
// "nationality", which is no attribute. Sources: robots.ox.ac.uk/~vgg/data/voxceleb;
// openslr.org/49; Nagrani et al., "VoxCeleb", Interspeech 2017; Chung et al., "VoxCeleb2", 2018.
#include "datagen/corpus_rows.h"
#include "datagen/corpus_table.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using runtime::DataError;

using Speakers = std::map<std::string, json>;  // "id10270" -> gender, nationality

void read_speakers(CorpusRows& rows, const fs::path& path, Speakers& speakers) {
  CorpusTable table(path);
  const std::size_t id = table.column({"VoxCeleb1 ID", "VoxCeleb2 ID"});
  const std::size_t gender = table.column({"Gender"});
  const auto nationality = table.find_column({"Nationality"});
  while (table.next()) {
    json fields = {{"speaker", table[id]}};
    rows.set_word(fields, "gender", kGenderWords, table[gender]);
    if (nationality && !table[*nationality].empty()) {
      fields["nationality"] = table[*nationality];
    }
    const auto [known, is_new] = speakers.emplace(table[id], fields);
    if (!is_new && known->second != fields) {
      throw DataError("{}: {} is described twice, and differently", table.where(),
                      shown(table[id]));
    }
  }
}

void read_sound(CorpusRows& rows, const fs::path& folder, const Speakers& speakers) {
  for (const fs::path& person : listing(folder)) {
    if (!is_folder(person)) {
      continue;
    }
    const std::string speaker = person.filename().string();
    const auto known = speakers.find(speaker);
    if (known == speakers.end()) {
      rows.note("without attributes: speakers that the tables lack", speaker);
    }
    for (const fs::path& video : listing(person)) {
      if (!is_folder(video)) {
        continue;
      }
      for (const fs::path& audio : listing(video)) {
        const std::string extension = lower(audio.extension().string());
        if (extension == ".wav" || extension == ".flac") {
          rows.add_without_words(
              audio, known == speakers.end() ? json({{"speaker", speaker}}) : known->second);
        } else if (extension == ".m4a" && !is_file(fs::path(audio).replace_extension(".wav"))) {
          rows.note("left out: recordings in AAC, to be converted to WAV",
                    audio.lexically_relative(rows.root()).generic_string());
        }
      }
    }
  }
}

}  // namespace

void read_voxceleb(CorpusRows& rows) {
  Speakers speakers;
  bool found = false;
  for (const char* name : {"vox1_meta.csv", "vox2_meta.csv"}) {
    if (is_file(rows.root() / name)) {
      read_speakers(rows, rows.root() / name, speakers);
      found = true;
    }
  }
  if (!found) {
    throw DataError("{}: neither vox1_meta.csv nor vox2_meta.csv is there", rows.root().string());
  }
  for (const char* part : {"", "dev", "test"}) {
    for (const char* kind : {"wav", "aac"}) {
      const fs::path folder = rows.root() / part / kind;
      if (is_folder(folder)) {
        read_sound(rows, folder, speakers);
      }
    }
  }
}

}  // namespace desta::datagen
