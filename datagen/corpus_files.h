// The files of a corpus that somebody else made: read in bounded memory, every complaint with file
// and line.
#pragma once

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace desta::datagen {

inline constexpr std::size_t kLongestLine = std::size_t{1} << 20;        // bytes
inline constexpr std::uintmax_t kLargestJson = std::uintmax_t{1} << 26;  // bytes

[[nodiscard]] std::string lower(std::string_view text);  // ASCII letters
[[nodiscard]] std::string_view trim(std::string_view text);
[[nodiscard]] std::vector<std::string_view> words_of(std::string_view text);  // between blanks
[[nodiscard]] bool is_utf8(std::string_view text);

// The text in quotation marks, fit for a message of one line: cut after 80 bytes, and with control
// characters and bytes that are no UTF-8 as "\x1b".
[[nodiscard]] std::string shown(std::string_view text);

// The lines of a text file.
class TextLines {
 public:
  // Throws DataError when `path` is not a file that can be read.
  explicit TextLines(std::filesystem::path path);

  // Goes to the next line; false at the end. A byte order mark and the line's end are taken off.
  // Throws DataError for a line longer than kLongestLine, or not UTF-8.
  [[nodiscard]] bool next();
  [[nodiscard]] const std::string& line() const { return line_; }
  [[nodiscard]] std::string where() const;  // "file:line"

 private:
  std::filesystem::path path_;
  std::ifstream in_;
  std::string line_;
  std::size_t number_ = 0;
};

// The first line of a text file; empty when there is no such file. Throws as TextLines does.
[[nodiscard]] std::string first_line(const std::filesystem::path& path);

// A JSON file of at most kLargestJson bytes. Throws DataError, with the line that is not JSON.
[[nodiscard]] nlohmann::json read_json(const std::filesystem::path& path);

// What lies in a folder, sorted by name; hidden files (".DS_Store", "._x.txt") are passed over.
// Throws DataError when the folder is missing, or holds a name with control characters or bytes
// that are no UTF-8: such a path cannot stand in a manifest.
[[nodiscard]] std::vector<std::filesystem::path> listing(const std::filesystem::path& folder);

// Never throw: what cannot be looked at is not there.
[[nodiscard]] bool is_file(const std::filesystem::path& path);
[[nodiscard]] bool is_folder(const std::filesystem::path& path);

// root / relative, for a path that a corpus's table states at `where`. Throws DataError when it is
// empty, absolute or climbs out of the root by "..", or holds control characters.
[[nodiscard]] std::filesystem::path inside(const std::filesystem::path& root,
                                           std::string_view relative, const std::string& where);

}  // namespace desta::datagen
