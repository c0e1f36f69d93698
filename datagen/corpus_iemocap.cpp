// IEMOCAP, the full release: five sessions, each of an actress and an actor.
//
//   Session1/dialog/EmoEvaluation/Ses01F_impro01.txt   an utterance and its raters' verdict a line:
//       [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
//     between lines of single raters, and of comments ("%")
//   Session1/dialog/transcriptions/Ses01F_impro01.txt
//       Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
//   Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
//
// The letter before an utterance's number is the speaker's gender (that after "Ses01" is who wore
// the markers). Sounds that are no words, such as [LAUGHTER], are taken out of a transcription.
// Sources: the release's README.txt; sail.usc.edu/iemocap; Busso et al., "IEMOCAP", Language
// Resources and Evaluation 42, 2008.
#include <algorithm>

#include "datagen/corpus_files.h"
#include "datagen/corpus_rows.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

namespace fs = std::filesystem;
using runtime::DataError;

// The last two are another emotion, and that the raters did not agree.
constexpr auto kEmotions = std::to_array<CorpusWord>({{"ang", "Angry"},
                                                      {"dis", "Disgusted"},
                                                      {"exc", "Excited"},
                                                      {"fea", "Fearful"},
                                                      {"fru", "Frustrated"},
                                                      {"hap", "Happy"},
                                                      {"neu", "Neutral"},
                                                      {"sad", "Sad"},
                                                      {"sur", "Surprised"},
                                                      {"oth", ""},
                                                      {"xx" "x", ""}});

struct Utterance {
  std::string name;      // "Ses01F_impro01_F000"
  std::string dialogue;  // "Ses01F_impro01"
  char gender = 'F';
  std::string emotion;  // "neu"
};

// A line such as the first one above.
Utterance parse_verdict(const TextLines& lines) {
  const std::string& line = lines.line();
  const std::size_t times = line.find(']');
  const auto words = words_of(std::string_view(line).substr(std::min(times, line.size())));
  const std::string name(words.size() > 2 ? words[1] : "");
  const std::size_t last = name.rfind('_');
  const bool plain = std::ranges::all_of(name, [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
  });
  if (!plain || !name.starts_with("Ses") || last == std::string::npos || last <= 5 ||
      last + 2 >= name.size() || (name[last + 1] != 'F' && name[last + 1] != 'M')) {
    throw DataError("{}: \"[start - end] utterance emotion\" was expected, not {}", lines.where(),
                    shown(line));
  }
  return {.name = name,
          .dialogue = name.substr(0, last),
          .gender = name[last + 1],
          .emotion = std::string(words[2])};
}

// The words alone: "[LAUGHTER]  I know." becomes "I know.".
std::string without_sounds(std::string_view text) {
  std::string words;
  while (!text.empty()) {
    const std::size_t open = std::min(text.find('['), text.size());
    const std::size_t close = text.find(']', open);
    words += text.substr(0, open);
    if (close == std::string_view::npos) {
      words += text.substr(open);
      break;
    }
    const std::string_view mark = text.substr(open, close + 1 - open);
    if (mark != lower(mark) &&
        std::ranges::none_of(mark, [](char c) { return c >= 'a' && c <= 'z'; })) {
      words += ' ';
    } else {
      words += mark;
    }
    text.remove_prefix(close + 1);
  }
  std::string line;
  for (const std::string_view word : words_of(words)) {
    line += (line.empty() ? "" : " ") + std::string(word);
  }
  return line;
}

// Utterance -> its words. Lines of another form ("M: [BREATHING]") belong to no utterance.
std::map<std::string, std::string> read_transcriptions(const fs::path& path) {
  std::map<std::string, std::string> transcriptions;
  for (TextLines lines(path); lines.next();) {
    const std::string& line = lines.line();
    const std::size_t text = line.find("]:");
    const std::size_t name = line.find(' ');
    if (line.starts_with("Ses") && text != std::string::npos && name < text) {
      transcriptions[line.substr(0, name)] =
          without_sounds(std::string_view(line).substr(text + 2));
    }
  }
  return transcriptions;
}

void read_dialogue(CorpusRows& rows, const fs::path& session, const fs::path& verdicts) {
  const auto transcriptions =
      read_transcriptions(session / "dialog" / "transcriptions" / verdicts.filename());
  for (TextLines lines(verdicts); lines.next();) {
    if (!lines.line().starts_with('[')) {
      continue;
    }
    const Utterance utterance = parse_verdict(lines);
    nlohmann::json fields = {{"speaker", utterance.name.substr(0, 5) + utterance.gender}};
    rows.set_word(fields, "gender", kGenderWords, std::string_view(&utterance.gender, 1));
    rows.set_word(fields, "emotion", kEmotions, utterance.emotion);
    const auto words = transcriptions.find(utterance.name);
    rows.add(session / "sentences" / "wav" / utterance.dialogue / (utterance.name + ".wav"),
             words == transcriptions.end() ? "" : words->second, std::move(fields));
  }
}

}  // namespace

void read_iemocap(CorpusRows& rows) {
  for (const fs::path& session : listing(rows.root())) {
    if (!session.filename().string().starts_with("Session") || !is_folder(session)) {
      continue;
    }
    for (const fs::path& verdicts : listing(session / "dialog" / "EmoEvaluation")) {
      if (is_file(verdicts) && lower(verdicts.extension().string()) == ".txt") {
        read_dialogue(rows, session, verdicts);
      }
    }
  }
}

}  // namespace desta::datagen
