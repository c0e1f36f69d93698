#include "datagen/corpus_table.h"

#include <algorithm>

#include "runtime/core/error.h"

namespace desta::datagen {

using runtime::DataError;

CorpusTable::CorpusTable(const std::filesystem::path& path) : lines_(path) {
  if (!lines_.next() || trim(lines_.line()).empty()) {
    throw DataError("{}: no header: the file, or its first line, is empty", path.string());
  }
  delimiter_ = lines_.line().find('\t') == std::string::npos ? ',' : '\t';
  header_place_ = lines_.where();
  split();
  header_ = fields_;
}

std::optional<std::size_t> CorpusTable::find_column(
    std::initializer_list<std::string_view> names) const {
  for (const std::string_view name : names) {
    const auto found = std::ranges::find(header_, lower(name),
                                         [](const std::string& title) { return lower(title); });
    if (found != header_.end()) {
      return static_cast<std::size_t>(found - header_.begin());
    }
  }
  return std::nullopt;
}

std::size_t CorpusTable::column(std::initializer_list<std::string_view> names) const {
  const auto found = find_column(names);
  if (!found) {
    throw DataError("{}: no column {}; the header is {}", header_place_, shown(*names.begin()),
                    shown(fmt::format("{}", fmt::join(header_, ", "))));
  }
  return *found;
}

bool CorpusTable::next() {
  do {
    if (!lines_.next()) {
      return false;
    }
  } while (trim(lines_.line()).empty());
  split();
  if (fields_.size() != header_.size()) {
    throw DataError("{}: {} fields; the header has {}", where(), fields_.size(), header_.size());
  }
  return true;
}

// Splits the line into fields_.
void CorpusTable::split() {
  const std::string& line = lines_.line();
  fields_.clear();
  for (std::size_t i = 0; i <= line.size(); ++i) {  // i: where a field starts
    if (i == line.size() || line[i] != '"') {
      const std::size_t end = std::min(line.find(delimiter_, i), line.size());
      fields_.emplace_back(trim(std::string_view(line).substr(i, end - i)));
      i = end;
      continue;
    }
    std::string field;
    for (++i; i < line.size() && (line[i] != '"' || line.substr(i, 2) == "\"\""); ++i) {
      field += line[i];
      i += line[i] == '"' ? 1 : 0;
    }
    if (i == line.size()) {
      throw DataError("{}: a quotation mark is not closed on its line", where());
    }
    fields_.emplace_back(trim(field));
    if (++i < line.size() && line[i] != delimiter_) {
      throw DataError("{}: text behind a closed quotation mark", where());
    }
  }
}

}  // namespace desta::datagen
