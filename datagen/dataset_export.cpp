#include "datagen/dataset_export.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "datagen/dataset.h"
#include "datagen/dataset_statistics.h"
#include "datagen/output_file.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using nlohmann::ordered_json;
using runtime::ConfigError;
using runtime::DataError;

std::string audio_path(const std::string& audio, const fs::path& folder) {
  const fs::path path = fs::absolute(audio).lexically_normal();
  const fs::path relative = path.lexically_relative(folder);
  return relative.empty() || *relative.begin() == ".." ? path.string() : relative.string();
}

ordered_json desta2(const Row& row, const std::string& audio) {
  return {{"audio_filepath", audio},
          {"transcription", row.transcription},
          {"input", row.prompt},
          {"target", row.response},
          {"duration", row.duration}};
}

ordered_json desta25(const Row& row, const std::string& audio, const std::string& dataset) {
  const ordered_json sound = {{"audio", audio}, {"text", row.transcription}};
  const ordered_json message = {{"role", "user"},
                                {"content", "<|AUDIO|>\n" + row.prompt},
                                {"audios", ordered_json::array({sound})}};
  return {{"id", audio},
          {"dataset", dataset},
          {"seed_description", row.seed_transcript},
          {"prompt", row.prompt},
          {"response", row.response},
          {"messages", ordered_json::array({message})}};
}

// The words that each selected attribute has in the dataset, for one who asked for another.
class Selector {
 public:
  explicit Selector(const std::vector<Selection>& selections) : selections_(selections) {}

  bool takes(const Row& row) {
    if (selections_.empty()) {
      return true;
    }
    const Metadata metadata = metadata_of(row);
    bool takes = true;
    for (const auto& [name, word] : selections_) {
      const Attribute* attribute = find_attribute(metadata, name);
      if (attribute != nullptr && words_[name].size() < 20) {
        words_[name].insert(attribute->word);
      }
      takes = takes && attribute != nullptr && attribute->word == word;
    }
    return takes;
  }

  [[nodiscard]] std::string known() const {
    std::string text;
    for (const auto& [name, word] : selections_) {
      const auto found = words_.find(name);
      text += found == words_.end() ? fmt::format("; no row has the attribute {}", name)
                                    : fmt::format("; {} is {}", name, fmt::join(found->second, ", "));
    }
    return text;
  }

 private:
  const std::vector<Selection>& selections_;
  std::map<std::string, std::set<std::string>> words_;
};

}  // namespace

Layout layout_of(const std::string& name) {
  if (name == "desta2") {
    return Layout::kDesta2;
  }
  if (name == "desta2.5") {
    return Layout::kDesta25;
  }
  throw ConfigError("--layout {}: no such layout; use desta2 or desta2.5", name);
}

Selection parse_selection(const std::string& text) {
  const std::size_t sign = text.find('=');
  if (sign == 0 || sign == std::string::npos || sign + 1 == text.size()) {
    throw ConfigError("--select {}: give an attribute and its word, as gender=Female", text);
  }
  return {text.substr(0, sign), text.substr(sign + 1)};
}

ExportReport export_jsonl(const fs::path& folder, const fs::path& file, Layout layout,
                          const std::vector<Selection>& selections) {
  const Dataset dataset = Dataset::open(folder);
  const fs::path whole = fs::absolute(folder).lexically_normal();
  const std::string name =
      (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  const fs::path target = fs::absolute(file).lexically_normal().parent_path();
  Selector selector(selections);
  ExportReport report;
  write_output(file, [&](std::ostream& out) {
    dataset.for_each([&](std::size_t, const Row& row) {
      if (!selector.takes(row)) {
        ++report.left_out;
        return;
      }
      ++report.rows;
      const std::string audio = audio_path(row.audio_filepath, target);
      const ordered_json line =
          layout == Layout::kDesta2 ? desta2(row, audio) : desta25(row, audio, name);
      out << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
      if (!out) {
        throw runtime::InternalError("{}: cannot write; free some space or choose another file",
                                     file.string());
      }
    });
    if (report.rows == 0) {
      throw DataError("{}: not one of {} rows is selected{}", folder.string(), dataset.size(),
                      selector.known());
    }
  });
  return report;
}

}  // namespace desta::datagen
