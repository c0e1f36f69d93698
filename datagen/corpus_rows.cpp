#include "datagen/corpus_rows.h"

#include <algorithm>

#include "datagen/corpus_files.h"
#include "runtime/core/error.h"

namespace desta::datagen {

CorpusRows::CorpusRows(std::string_view corpus, std::filesystem::path root)
    : corpus_(corpus), root_(std::move(root)) {}

void CorpusRows::add(const std::filesystem::path& audio, std::string_view transcription,
                     nlohmann::json fields) {
  if (trim(transcription).empty()) {
    note("left out: recordings without a transcription",
         audio.lexically_relative(root_).generic_string());
    return;
  }
  push(audio, trim(transcription), std::move(fields));
}

void CorpusRows::add_without_words(const std::filesystem::path& audio, nlohmann::json fields) {
  push(audio, {}, std::move(fields));
}

void CorpusRows::push(const std::filesystem::path& audio, std::string_view transcription,
                      nlohmann::json fields) {
  const std::string relative = audio.lexically_relative(root_).generic_string();
  if (!is_file(audio)) {
    note("left out: recordings that are missing", relative);
    return;
  }
  fields["dataset"] = corpus_;
  ManifestRow row;
  row.id = corpus_ + "/" + relative;
  row.audio = audio;
  row.transcription = transcription;
  row.fields = std::move(fields);
  rows_.push_back(std::move(row));
}

void CorpusRows::set_word(nlohmann::json& fields, const char* key,
                          std::span<const CorpusWord> words, std::string_view label) {
  const auto found = std::ranges::find(words, lower(trim(label)), &CorpusWord::label);
  if (found != words.end() && !found->word.empty()) {
    fields[key] = found->word;
  } else if (found == words.end() && !trim(label).empty()) {
    note(fmt::format("left out: values of {} that have no word here", key), trim(label));
  }
}

void CorpusRows::note(const std::string& what, std::string_view example) {
  Note& note = notes_[what];
  if (note.count++ == 0) {
    note.first = example;
  }
}

ManifestReport CorpusRows::report() && {
  std::ranges::stable_sort(rows_, {}, &ManifestRow::id);
  ManifestReport report;
  for (ManifestRow& row : rows_) {
    if (report.rows.empty() || report.rows.back().id != row.id) {
      report.rows.push_back(std::move(row));
    } else if (report.rows.back().fields != row.fields ||
               report.rows.back().transcription != row.transcription) {
      note("left out: second and different annotations of a recording", row.id);
    }
  }
  for (const auto& [what, note] : notes_) {
    report.problems.push_back(fmt::format("{}: {} ({}, the first: {})", root_.string(), what,
                                          note.count, shown(note.first)));
  }
  return report;
}

}  // namespace desta::datagen
