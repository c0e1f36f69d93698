#include "datagen/corpus_files.h"

#include <algorithm>

#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using runtime::DataError;

constexpr std::string_view kBlanks = " \t\r\n\v\f";
constexpr std::size_t kShown = 80;  // bytes of a corpus's text in a message

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// Bytes of the UTF-8 character that starts `text`; 0 when there is none.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  const std::size_t length = first < 0x80                    ? 1
                             : first >= 0xc2 && first < 0xe0 ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length > text.size()) {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return 0;
    }
  }
  // Overlong forms, surrogates, and what lies beyond U+10FFFF show in the second byte.
  const bool bad = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
                   (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f);
  return bad ? 0 : length;
}

}  // namespace

std::string lower(std::string_view text) {
  std::string small(text);
  std::ranges::transform(small, small.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 'a' - 'A') : c; });
  return small;
}

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = trim(text); !text.empty(); text = trim(text)) {
    words.push_back(text.substr(0, text.find_first_of(kBlanks)));
    text.remove_prefix(words.back().size());
  }
  return words;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      return false;
    }
    text.remove_prefix(length);
  }
  return true;
}

std::string shown(std::string_view text) {
  std::string out = "\"";
  const bool cut = text.size() > kShown;
  for (text = text.substr(0, kShown); !text.empty();) {
    const std::size_t length = utf8_length(text);
    if (length == 0 || is_control(text[0])) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out + (cut ? "...\"" : "\"");
}

TextLines::TextLines(fs::path path) : path_(std::move(path)) {
  if (!is_file(path_)) {
    throw DataError("{}: no such file", path_.string());
  }
  in_.open(path_, std::ios::binary);
  if (!in_) {
    throw DataError("{}: cannot be read", path_.string());
  }
}

bool TextLines::next() {
  constexpr int kEnd = std::char_traits<char>::eof();
  std::streambuf& in = *in_.rdbuf();
  int c = in.sbumpc();
  if (c == kEnd) {
    return false;
  }
  ++number_;
  line_.clear();
  for (; c != kEnd && c != '\n'; c = in.sbumpc()) {
    if (line_.size() == kLongestLine) {
      throw DataError("{}: longer than {} bytes; that is no line of a corpus", where(),
                      kLongestLine);
    }
    line_ += static_cast<char>(c);
  }
  if (number_ == 1 && line_.starts_with("\xef\xbb\xbf")) {
    line_.erase(0, 3);
  }
  if (line_.ends_with('\r')) {
    line_.pop_back();
  }
  if (!is_utf8(line_)) {
    throw DataError("{}: not UTF-8", where());
  }
  return true;
}

std::string TextLines::where() const { return fmt::format("{}:{}", path_.string(), number_); }

std::string first_line(const fs::path& path) {
  if (!is_file(path)) {
    return {};
  }
  TextLines lines(path);
  return lines.next() ? lines.line() : std::string();
}

nlohmann::json read_json(const fs::path& path) {
  if (!is_file(path)) {
    throw DataError("{}: no such file", path.string());
  }
  std::error_code error;
  if (fs::file_size(path, error) > kLargestJson || error) {
    throw DataError("{}: larger than {} bytes; that is no table of a corpus", path.string(),
                    kLargestJson);
  }
  const std::string text = runtime::read_file(path);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& problem) {
    const std::string_view before = std::string_view(text).substr(0, problem.byte);
    throw DataError("{}:{}: not JSON (byte {})", path.string(),
                    1 + std::ranges::count(before, '\n'), problem.byte);
  } catch (const nlohmann::json::exception&) {
    throw DataError("{}: not JSON: a number that is too large", path.string());
  }
}

std::vector<fs::path> listing(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> paths;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with('.')) {
      continue;
    }
    if (!is_utf8(name) || std::ranges::any_of(name, is_control)) {
      throw DataError("{}: holds the name {}, which cannot stand in a manifest", folder.string(),
                      shown(name));
    }
    paths.push_back(entry->path());
  }
  if (error) {
    throw DataError("{}: no such folder, or it cannot be read", folder.string());
  }
  std::ranges::sort(paths);
  return paths;
}

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

fs::path inside(const fs::path& root, std::string_view relative, const std::string& where) {
  const fs::path normal = fs::path(relative).lexically_normal();
  if (relative.empty() || normal.is_absolute() || *normal.begin() == ".." ||
      std::ranges::any_of(relative, is_control)) {
    throw DataError("{}: {} is not a path within the corpus", where, shown(relative));
  }
  return root / normal;
}

}  // namespace desta::datagen
