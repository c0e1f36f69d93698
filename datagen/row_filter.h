// Which responses are not worth learning from. A filter looks at one row (`duplicates`: at a recording's
// rows) and says why it takes it out; every one is off until it is asked for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datagen/dataset.h"

namespace desta::datagen {

// Beginnings and phrases by which instruct models decline, or speak of being text alone. They are the ones
// that clean-ups of published instruction data look for (FastChat's data/optional_clean.py, 2023), with
// those about sound added.
[[nodiscard]] std::vector<std::string> default_refusal_phrases();

struct FilterOptions {
  std::int64_t min_words = 0;  // between spaces
  std::int64_t max_words = 0;  // 0: any number
  bool refusals = false;       // takes out what contains one of
  std::vector<std::string> refusal_phrases = {};  // these; none: default_refusal_phrases()
  double repetition = 0;  // more than this is repetitive: bytes of the text for one of its zlib
                          // compression. 2.4 is Whisper's (Radford et al. 2022, 4.5); 0: off
  std::string language = {};    // ISO 639-1 ("en"): takes out what is reliably in another; empty: off
  std::int64_t mentions = 0;    // of the told attributes at least so many, or all where they are fewer
  bool contradictions = false;  // takes out what states another value of a told attribute alone
  bool duplicates = false;      // takes out the words of an earlier row of the same recording

  std::map<std::string, std::int64_t> group_mentions = {};  // for the recipe's groups; not a setting

  friend bool operator==(const FilterOptions&, const FilterOptions&) = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(min_words, max_words, refusals, refusal_phrases, repetition, language, mentions,
            contradictions, duplicates, group_mentions);
  }
};

struct Rejection {
  std::string filter;  // "min_words", "refusals", ...: the setting's name
  std::string reason;  // "says 'female' where gender is Male"
  friend bool operator==(const Rejection&, const Rejection&) = default;
};

// Why a row is not kept; nothing when it is. The first filter in the order of FilterOptions decides.
// Quotations of the transcription are no refusals, mentions or contradictions. `duplicates` is not judged
// here. Throws DataError when the row's metadata are none.
[[nodiscard]] std::optional<Rejection> judge(const Row& row, const FilterOptions& options);

// What two responses have in common that differ in case, punctuation or spaces alone.
[[nodiscard]] std::uint64_t response_key(const Row& row);

// How often the zlib compression of a text goes into it.
[[nodiscard]] double compression_ratio(std::string_view text);

// Whether a language filter can be asked for it.
[[nodiscard]] bool is_known_language(const std::string& code);

}  // namespace desta::datagen
