// Tables as corpora publish them: a header, then a record a line, fields apart by commas (RFC 4180)
// or, when the header has a tab, by tabs.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "datagen/corpus_files.h"

namespace desta::datagen {

class CorpusTable {
 public:
  // Reads the header. Throws DataError when the file is missing, unreadable or empty.
  explicit CorpusTable(const std::filesystem::path& path);

  // The column that has one of these names; case and blanks around it don't count. Throws DataError
  // naming what is missing and what is there.
  [[nodiscard]] std::size_t column(std::initializer_list<std::string_view> names) const;
  [[nodiscard]] std::optional<std::size_t> find_column(
      std::initializer_list<std::string_view> names) const;

  // Goes to the next record, past empty lines; false at the end. Throws DataError for a record that
  // has not as many fields as the header, or a quotation mark that its line does not close.
  [[nodiscard]] bool next();
  // A field of this record, without blanks around it.
  [[nodiscard]] const std::string& operator[](std::size_t column) const { return fields_[column]; }
  [[nodiscard]] std::string where() const { return lines_.where(); }  // "file:line"

 private:
  void split();

  TextLines lines_;
  char delimiter_ = ',';
  std::string header_place_;
  std::vector<std::string> header_;
  std::vector<std::string> fields_;
};

}  // namespace desta::datagen
