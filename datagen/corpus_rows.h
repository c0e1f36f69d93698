// What the readers of published corpora fill, the words they share, and the readers.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "datagen/manifest.h"

namespace desta::datagen {

// A label of a corpus (in lower case) and our word for it; no word: the label says "unknown".
struct CorpusWord {
  std::string_view label;
  std::string_view word;
};

inline constexpr auto kGenderWords = std::to_array<CorpusWord>(
    {{"m", "Male"}, {"f", "Female"}, {"male", "Male"}, {"female", "Female"}});

// Grades of pitch and volume.
inline constexpr auto kGradeWords =
    std::to_array<CorpusWord>({{"low", "Low"}, {"normal", "Normal"}, {"high", "High"}});

// Emotions that corpora write out, as noun or as adjective.
inline constexpr auto kEmotionWords = std::to_array<CorpusWord>({{"no emotion", "Neutral"},
                                                                 {"neutral", "Neutral"},
                                                                 {"anger", "Angry"},
                                                                 {"angry", "Angry"},
                                                                 {"disgust", "Disgusted"},
                                                                 {"disgusted", "Disgusted"},
                                                                 {"fear", "Fearful"},
                                                                 {"fearful", "Fearful"},
                                                                 {"happiness", "Happy"},
                                                                 {"happy", "Happy"},
                                                                 {"sadness", "Sad"},
                                                                 {"sad", "Sad"},
                                                                 {"surprise", "Surprised"},
                                                                 {"surprised", "Surprised"},
                                                                 {"contempt", "Contemptuous"},
                                                                 {"cheerful", "Cheerful"}});

class CorpusRows {
 public:
  CorpusRows(std::string_view corpus, std::filesystem::path root);
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }

  // Adds the recording, a path below the root. One that is missing, or has no words, is left out
  // and noted.
  void add(const std::filesystem::path& audio, std::string_view transcription,
           nlohmann::json fields);
  // The same in a corpus that has no transcriptions.
  void add_without_words(const std::filesystem::path& audio, nlohmann::json fields);

  // Sets fields[key] to our word for the label, whatever its case. Nothing is set for an empty
  // label, nor for one that the words lack: that is noted.
  void set_word(nlohmann::json& fields, const char* key, std::span<const CorpusWord> words,
                std::string_view label);

  // Counts something that the person should know, with the first example of its kind.
  void note(const std::string& what, std::string_view example);

  // The rows by id, each once, and the notes, one line a kind.
  [[nodiscard]] ManifestReport report() &&;

 private:
  struct Note {
    std::size_t count = 0;
    std::string first;
  };

  void push(const std::filesystem::path& audio, std::string_view transcription,
            nlohmann::json fields);

  std::string corpus_;
  std::filesystem::path root_;
  std::vector<ManifestRow> rows_;
  std::map<std::string, Note> notes_;
};

// Each in its file, datagen/corpus_<name>.cpp. Errors as read_corpus() has them.
void read_accentdb(CorpusRows& rows);
void read_dailytalk(CorpusRows& rows);
void read_iemocap(CorpusRows& rows);
void read_prompttts(CorpusRows& rows);
void read_textrolspeech(CorpusRows& rows);
void read_vctk(CorpusRows& rows);
void read_voxceleb(CorpusRows& rows);

}  // namespace desta::datagen
