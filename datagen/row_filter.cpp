#include "datagen/row_filter.h"

#include <cld2/public/compact_lang_det.h>
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "datagen/attribute_words.h"
#include "datagen/dataset_statistics.h"
#include "datagen/normalise_text.h"
#include "datagen/seed_transcript.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace {

using Verdict = std::optional<Rejection>;

std::int64_t count_words(std::string_view text) {
  std::int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\t' || c == '\r';
    words += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return words;
}

Verdict judge_length(const Row& row, const FilterOptions& options) {
  const std::int64_t words = count_words(row.response);
  if (words < options.min_words) {
    return Rejection{"min_words", fmt::format("{} words", words)};
  }
  if (options.max_words > 0 && words > options.max_words) {
    return Rejection{"max_words", fmt::format("{} words", words)};
  }
  return std::nullopt;
}

Verdict judge_refusal(const Row& row, const FilterOptions& options) {
  if (!options.refusals) {
    return std::nullopt;
  }
  static const std::vector<std::string> kDefault = default_refusal_phrases();
  const std::string own = without_quotation(row.response, row.transcription);
  for (const std::string& phrase : options.refusal_phrases.empty() ? kDefault : options.refusal_phrases) {
    if (contains_words(own, phrase)) {
      return Rejection{"refusals", fmt::format("contains \"{}\"", phrase)};
    }
  }
  return std::nullopt;
}

Verdict judge_repetition(const Row& row, const FilterOptions& options) {
  if (options.repetition > 0) {
    const double ratio = compression_ratio(row.response);
    if (ratio > options.repetition) {
      return Rejection{"repetition", fmt::format("its compression goes {:.2f} times into it", ratio)};
    }
  }
  return std::nullopt;
}

Verdict judge_language(const Row& row, const FilterOptions& options) {
  if (options.language.empty()) {
    return std::nullopt;
  }
  bool reliable = false;
  const CLD2::Language found = CLD2::DetectLanguage(
      row.response.data(), static_cast<int>(std::min<std::size_t>(row.response.size(), 1 << 20)), true,
      &reliable);
  const CLD2::Language wanted = CLD2::GetLanguageFromName(options.language.c_str());
  if (reliable && found != CLD2::UNKNOWN_LANGUAGE && found != wanted) {
    return Rejection{"language", fmt::format("is {}", CLD2::LanguageCode(found))};
  }
  return std::nullopt;
}

Verdict judge_attributes(const Row& row, const FilterOptions& options) {
  const auto of_group = options.group_mentions.find(row.group);
  const std::int64_t mentions =
      of_group == options.group_mentions.end() ? options.mentions : of_group->second;
  if (mentions == 0 && !options.contradictions) {
    return std::nullopt;
  }
  const Metadata told = told_attributes(row.seed_transcript, metadata_of(row));
  const auto found = std::count_if(told.begin(), told.end(), [&](const Attribute& attribute) {
    return states(row.response, attribute, row.transcription);
  });
  const auto wanted = std::min<std::int64_t>(mentions, static_cast<std::int64_t>(told.size()));
  if (found < wanted) {
    return Rejection{"mentions", fmt::format("{} of {} attributes", found, told.size())};
  }
  for (const Attribute& attribute : told) {
    if (!options.contradictions) {
      break;
    }
    if (const auto other = contradiction(row.response, attribute, row.transcription)) {
      return Rejection{"contradictions",
                       fmt::format("says '{}' where {} is {}", *other, attribute.name, attribute.text)};
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> default_refusal_phrases() {
  return {"as an AI",
          "as a language model",
          "I am a language model",
          "I'm just a language model",
          "large language model",
          "text-based AI",
          "text-based model",
          "I'm sorry, but",
          "I am sorry, but",
          "I apologize, but",
          "I cannot hear",
          "I can't hear",
          "I cannot listen",
          "I can't listen",
          "unable to hear",
          "unable to listen",
          "ability to hear",
          "ability to listen",
          "cannot process audio",
          "can't process audio",
          "cannot fulfill",
          "can't fulfill",
          "provide the audio",
          "no audio was provided"};
}

double compression_ratio(std::string_view text) {
  uLongf size = compressBound(static_cast<uLong>(text.size()));
  std::vector<Bytef> compressed(size);
  if (compress2(compressed.data(), &size, reinterpret_cast<const Bytef*>(text.data()),
                static_cast<uLong>(text.size()), Z_DEFAULT_COMPRESSION) != Z_OK) {
    throw runtime::InternalError("zlib cannot compress a text of {} bytes", text.size());
  }
  return static_cast<double>(text.size()) / static_cast<double>(size);
}

bool is_known_language(const std::string& code) {
  const CLD2::Language language = CLD2::GetLanguageFromName(code.c_str());
  return language != CLD2::UNKNOWN_LANGUAGE && code == CLD2::LanguageCode(language);
}

std::uint64_t response_key(const Row& row) {
  return runtime::hash64(normalise_text(row.response), runtime::hash64(row.audio_filepath));
}

std::optional<Rejection> judge(const Row& row, const FilterOptions& options) {
  for (const auto& filter :
       {judge_length, judge_refusal, judge_repetition, judge_language, judge_attributes}) {
    if (auto rejection = filter(row, options)) {
      return rejection;
    }
  }
  return std::nullopt;
}

}  // namespace desta::datagen
