// VCTK, version 0.92, and 0.80 with it.
//
//   speaker-info.txt    ID  AGE  GENDER  ACCENTS  REGION COMMENTS
//                       p225  23  F    English    Southern  England
//   txt/p225/p225_001.txt
//   wav48_silence_trimmed/p225/p225_001_mic1.flac   0.92, two microphones
//   wav48/p225/p225_001.wav                         0.80, speakers without the "p" in the table
//
// The first microphone is taken, the second where the first is missing. p315 has no texts and is
// left out. Sources: datashare.ed.ac.uk/handle/10283/3443 (its README); torchaudio's VCTK_092.
#include <algorithm>
#include <charconv>

#include "datagen/corpus_files.h"
#include "datagen/corpus_rows.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using runtime::DataError;

// "English" is that of England, for which our word is British.
constexpr auto kAccents = std::to_array<CorpusWord>({{"american", "American"},
                                                     {"australian", "Australian"},
                                                     {"british", "British"},
                                                     {"canadian", "Canadian"},
                                                     {"english", "British"},
                                                     {"indian", "Indian"},
                                                     {"irish", "Irish"},
                                                     {"newzealand", "New Zealand"},
                                                     {"northernirish", "Northern Irish"},
                                                     {"scottish", "Scottish"},
                                                     {"southafrican", "South African"},
                                                     {"welsh", "Welsh"},
                                                     {"unknown", ""}});

constexpr auto kColumns = std::to_array<std::string_view>({"ID", "AGE", "GENDER", "ACCENTS"});

int parse_age(std::string_view text, const std::string& where) {
  int age = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), age);
  if (error != std::errc() || end != text.data() + text.size() || age < 1 || age > 120) {
    throw DataError("{}: {} is no age", where, shown(text));
  }
  return age;
}

// Speaker ("p225") -> gender, age, accent.
std::map<std::string, json> read_speakers(CorpusRows& rows) {
  const fs::path path = rows.root() / "speaker-info.txt";
  TextLines lines(path);
  const auto header = lines.next() ? words_of(lines.line()) : std::vector<std::string_view>();
  if (header.size() < kColumns.size() ||
      !std::equal(kColumns.begin(), kColumns.end(), header.begin())) {
    throw DataError("{}:1: the columns ID AGE GENDER ACCENTS were expected", path.string());
  }
  std::map<std::string, json> speakers;
  while (lines.next()) {
    const auto words = words_of(lines.line());
    if (words.empty()) {
      continue;
    }
    if (words.size() < kColumns.size()) {
      throw DataError("{}: id, age, gender and accent were expected, not {}", lines.where(),
                      shown(lines.line()));
    }
    const bool bare = words[0][0] >= '0' && words[0][0] <= '9';
    const std::string speaker = (bare ? "p" : "") + std::string(words[0]);
    json fields = {{"speaker", speaker}, {"age", parse_age(words[1], lines.where())}};
    rows.set_word(fields, "gender", kGenderWords, words[2]);
    rows.set_word(fields, "accent", kAccents, words[3]);
    if (speakers.contains(speaker) && speakers[speaker] != fields) {
      throw DataError("{}: {} is described twice, and differently", lines.where(), shown(speaker));
    }
    speakers[speaker] = fields;
  }
  return speakers;
}

// Utterance ("p225_001") -> its recording: mic1 stands before mic2.
std::map<std::string, fs::path> recordings_of(const fs::path& folder) {
  std::map<std::string, fs::path> recordings;
  for (const fs::path& path : listing(folder)) {
    const std::string extension = lower(path.extension().string());
    if (extension == ".flac" || extension == ".wav") {
      const std::string stem = path.stem().string();
      recordings.emplace(stem.substr(0, stem.find("_mic")), path);
    }
  }
  return recordings;
}

}  // namespace

void read_vctk(CorpusRows& rows) {
  const auto speakers = read_speakers(rows);
  const fs::path trimmed = rows.root() / "wav48_silence_trimmed";
  for (const fs::path& folder : listing(is_folder(trimmed) ? trimmed : rows.root() / "wav48")) {
    if (!is_folder(folder)) {
      continue;  // log.txt
    }
    const std::string speaker = folder.filename().string();
    const auto known = speakers.find(speaker);
    if (known == speakers.end()) {
      rows.note("without attributes: speakers that speaker-info.txt lacks", speaker);
    }
    for (const auto& [utterance, audio] : recordings_of(folder)) {
      rows.add(audio, first_line(rows.root() / "txt" / speaker / (utterance + ".txt")),
               known == speakers.end() ? json({{"speaker", speaker}}) : known->second);
    }
  }
}

}  // namespace desta::datagen
