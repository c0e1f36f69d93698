// DailyTalk: 2,541 dialogues of DailyDialog, spoken by two people.
//
//   metadata.json     {"12": {"3": {"speaker": 1, "text": "Sure.", "emotion": "happiness",
//                                   "act": "commissive", ...}, ...}, ...}: dialogue, utterance
//   data/12/3_1_d12.wav
//
// Emotion and act are DailyDialog's labels of the written dialogue; the act is our intent. Who of
// the speakers 0 and 1 is the woman is not published with it, so there is no gender. Sources:
// github.com/keonlee9420/DailyTalk (preprocessor/); Lee et al., "DailyTalk", ICASSP 2023; Li et
// al., "DailyDialog", IJCNLP 2017.
#include <algorithm>

#include "datagen/corpus_files.h"
#include "datagen/corpus_rows.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace {

using nlohmann::json;
using runtime::DataError;

constexpr auto kIntents = std::to_array<CorpusWord>({{"inform", "Inform"},
                                                     {"question", "Question"},
                                                     {"directive", "Directive"},
                                                     {"commissive", "Commissive"}});

bool is_number(std::string_view text) {
  return !text.empty() && text.size() <= 9 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// The value of `key` as text: a text, or a whole number.
std::string text_of(const json& utterance, const char* key, const std::string& where) {
  const auto found = utterance.find(key);
  if (found != utterance.end() && found->is_number_unsigned()) {
    return std::to_string(found->get<std::uint64_t>());
  }
  if (found == utterance.end() || !found->is_string()) {
    throw DataError("{}: \"{}\" is missing, or no text", where, key);
  }
  return found->get<std::string>();
}

}  // namespace

void read_dailytalk(CorpusRows& rows) {
  const std::filesystem::path table = rows.root() / "metadata.json";
  const json dialogues = read_json(table);
  if (!dialogues.is_object()) {
    throw DataError("{}: an object of dialogues was expected, not {}", table.string(),
                    dialogues.type_name());
  }
  for (const auto& [dialogue, utterances] : dialogues.items()) {
    const std::string record = fmt::format("{}: dialogue {}", table.string(), shown(dialogue));
    if (!is_number(dialogue) || !utterances.is_object()) {
      throw DataError("{}: it must have a number and be an object of utterances", record);
    }
    for (const auto& [number, utterance] : utterances.items()) {
      const std::string where = fmt::format("{}, utterance {}", record, shown(number));
      if (!is_number(number) || !utterance.is_object()) {
        throw DataError("{}: it must have a number and be an object", where);
      }
      const std::string speaker = text_of(utterance, "speaker", where);
      if (!is_number(speaker)) {
        throw DataError("{}: speaker {} is no number", where, shown(speaker));
      }
      json fields = {{"speaker", speaker}};
      rows.set_word(fields, "emotion", kEmotionWords, text_of(utterance, "emotion", where));
      rows.set_word(fields, "intent", kIntents, text_of(utterance, "act", where));
      rows.add(
          rows.root() / "data" / dialogue / fmt::format("{}_{}_d{}.wav", number, speaker, dialogue),
          text_of(utterance, "text", where), std::move(fields));
    }
  }
}

}  // namespace desta::datagen
