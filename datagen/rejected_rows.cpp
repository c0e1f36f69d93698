#include "datagen/rejected_rows.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "datagen/row_texts.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;
using runtime::DataError;
using runtime::InternalError;

// Empty when JSON cannot hold its texts.
std::string line_of(const RejectedRow& rejected) {
  nlohmann::ordered_json line;
  line["filter"] = rejected.rejection.filter;
  line["reason"] = rejected.rejection.reason;
  for (const RowText& text : kRowTexts) {
    line[text.name] = rejected.row.*text.member;
  }
  line["seed"] = rejected.row.seed;
  line["duration"] = rejected.row.duration;
  try {
    return line.dump() + "\n";
  } catch (const nlohmann::ordered_json::type_error&) {
    return {};
  }
}

std::string lines_of(const std::vector<RejectedRow>& rows) {
  std::string lines;
  for (const RejectedRow& row : rows) {
    lines += line_of(row);
  }
  return lines;
}

RejectedRow parse(const std::string& text) {
  const json line = json::parse(text);
  RejectedRow rejected;
  rejected.rejection.filter = line.at("filter").get<std::string>();
  rejected.rejection.reason = line.at("reason").get<std::string>();
  for (const RowText& field : kRowTexts) {
    rejected.row.*field.member = line.at(field.name).get<std::string>();
  }
  rejected.row.seed = line.at("seed").get<std::uint64_t>();
  rejected.row.duration = line.at("duration").get<double>();
  return rejected;
}

class Descriptor {
 public:
  explicit Descriptor(const fs::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    require(descriptor_ >= 0, "open");
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
    }
  }

  // How far whole lines reach.
  [[nodiscard]] off_t end_of_lines() const {
    off_t end = ::lseek(descriptor_, 0, SEEK_END);
    require(end >= 0, "read");
    for (char c = 0; end > 0; --end) {
      require(::pread(descriptor_, &c, 1, end - 1) == 1, "read");
      if (c == '\n') {
        break;
      }
    }
    return end;
  }
  void cut(off_t end) const { require(::ftruncate(descriptor_, end) == 0, "cut"); }
  // Writes behind `end`; false, with errno, when not all of it could be written.
  [[nodiscard]] bool write(const std::string& bytes, off_t end) const {
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t written = ::pwrite(descriptor_, bytes.data() + done, bytes.size() - done,
                                       end + static_cast<off_t>(done));
      if (written < 0 && errno == EINTR) {
        continue;
      }
      if (written <= 0) {
        return false;
      }
      done += static_cast<std::size_t>(written);
    }
    return ::fsync(descriptor_) == 0;
  }

 private:
  void require(bool holds, const char* what) const {
    if (!holds) {
      throw InternalError("{}: cannot {} it: {}", path_.string(), what, std::strerror(errno));
    }
  }

  fs::path path_;
  int descriptor_;
};

}  // namespace

fs::path rejected_file(const fs::path& folder) { return folder / "rejected.jsonl"; }

RejectedReport read_rejected(const fs::path& folder) {
  const fs::path path = rejected_file(folder);
  RejectedReport report;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    return report;
  }
  std::ifstream in(path, std::ios::binary);
  if (!in || fs::is_directory(path)) {
    throw DataError("{}: cannot read it", path.string());
  }
  std::unordered_map<std::string, std::size_t> place;  // by id
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (in.eof()) {
      break;  // no line ends here: it was cut off
    }
    try {
      RejectedRow rejected = parse(line);
      const auto [found, is_new] = place.try_emplace(rejected.row.id, report.rows.size());
      if (is_new) {
        report.rows.push_back(std::move(rejected));
      } else {
        report.rows[found->second] = std::move(rejected);
      }
    } catch (const json::exception&) {
      report.problems.push_back(
          fmt::format("{}:{}: no rejected row; it is passed over, and whoever asks for it has the model write it again",
                      path.string(), number));
    }
  }
  return report;
}

void append_rejected(const fs::path& folder, const std::vector<RejectedRow>& rows) {
  const std::string lines = lines_of(rows);
  if (lines.empty()) {
    return;
  }
  std::error_code ignored;  // opening the file reports it
  fs::create_directories(folder, ignored);
  const fs::path path = rejected_file(folder);
  const Descriptor file(path);
  const off_t end = file.end_of_lines();
  file.cut(end);
  if (!file.write(lines, end)) {
    const int problem = errno;
    file.cut(end);
    throw InternalError("{}: cannot add {} bytes: {}; free some space or choose another folder",
                        path.string(), lines.size(), std::strerror(problem));
  }
}

void replace_rejected(const fs::path& folder, const std::vector<RejectedRow>& rows) {
  const std::string lines = lines_of(rows);
  if (lines.empty()) {
    std::error_code ignored;
    fs::remove(rejected_file(folder), ignored);
    return;
  }
  runtime::write_file_atomically(rejected_file(folder), lines);
}

}  // namespace desta::datagen
