#include "datagen/manifest.h"

#include <cmath>
#include <fstream>

#include "datagen/corpus_files.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;
using runtime::DataError;

constexpr double kLongestSeconds = 7 * 24 * 3600.0;

// The first of `keys` that is there and not null, as text; empty when none is.
std::string text_of(const json& line, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto found = line.find(key);
    if (found == line.end() || found->is_null()) {
      continue;
    }
    if (!found->is_string()) {
      throw DataError("\"{}\" must be text, not {}", key, found->type_name());
    }
    return found->get<std::string>();
  }
  return {};
}

double duration_of(const json& line) {
  const auto found = line.find("duration");
  if (found == line.end() || found->is_null()) {
    return 0;
  }
  if (!found->is_number()) {
    throw DataError("\"duration\" must be a number of seconds, not {}", found->type_name());
  }
  const double seconds = found->get<double>();
  if (!(seconds >= 0 && seconds <= kLongestSeconds)) {
    throw DataError("\"duration\" of {} s: it must lie between 0 and {:.0f}", seconds,
                    kLongestSeconds);
  }
  return seconds;
}

// Annotations' "confidence": a number from 0 to 1 for each attribute that it names.
void check_confidence(const json& line) {
  const auto found = line.find("confidence");
  if (found == line.end() || !found->is_object()) {
    return;
  }
  for (const auto& [name, value] : found->items()) {
    if (!value.is_number() || value < 0.0 || value > 1.0) {
      throw DataError("\"confidence\" of {} is {}: it must be a number from 0 to 1", name, value.dump());
    }
  }
}

// The words between the first and the last quotation mark: [00:00:00 - 00:00:02]: "Hello." (...)
std::string quoted_part(const std::string& seed) {
  const std::size_t metadata = seed.rfind("\" (");
  const std::size_t first = seed.find('"');
  const std::size_t last = metadata != std::string::npos ? metadata : seed.rfind('"');
  if (first == std::string::npos || last <= first) {
    return {};
  }
  return seed.substr(first + 1, last - first - 1);
}

// Goes to the next line, which may lack its end; false behind the last one. Of a line that is too long only
// so much is kept that this can be seen.
bool read_line(std::istream& in, std::string& line) {
  line.clear();
  std::streambuf& buffer = *in.rdbuf();
  constexpr int kEnd = std::char_traits<char>::eof();
  int c = buffer.sbumpc();
  if (c == kEnd) {
    return false;
  }
  for (; c != kEnd && c != '\n'; c = buffer.sbumpc()) {
    if (line.size() <= kLongestLine) {
      line += static_cast<char>(c);
    }
  }
  return true;
}

// The file of this name, seen from the manifest's folder. A relative path stays in there: whoever means another
// folder says which.
fs::path file_of(const std::string& name, const char* key, const fs::path& folder) {
  const fs::path path(name);
  const fs::path plain = path.lexically_normal();
  if (name.find('\0') != std::string::npos || (path.is_relative() && !plain.empty() && *plain.begin() == "..")) {
    throw DataError("\"{}\" {} leaves the manifest's folder; write it absolute", key, shown(name));
  }
  return path.is_absolute() ? path : folder / path;
}

ManifestRow parse_row(const std::string& text, const fs::path& folder) {
  if (text.size() > kLongestLine) {
    throw DataError("a line of more than {} MiB", kLongestLine >> 20);
  }
  if (!is_utf8(text)) {
    throw DataError("not UTF-8");
  }
  ManifestRow row;
  row.fields = json::parse(text);
  if (!row.fields.is_object()) {
    throw DataError("an object was expected, not {}", row.fields.type_name());
  }
  row.id = text_of(row.fields, {"id"});
  row.seed_description = text_of(row.fields, {"seed_description", "seed_transcript"});
  row.prompt = text_of(row.fields, {"input", "prompt"});
  row.response = text_of(row.fields, {"target", "response"});
  row.transcription = text_of(row.fields, {"transcription", "text"});
  row.duration = duration_of(row.fields);
  check_confidence(row.fields);
  if (const std::string response = text_of(row.fields, {"impulse_response"}); !response.empty()) {
    row.impulse_response = file_of(response, "impulse_response", folder);
  }
  std::string audio = text_of(row.fields, {"audio_filepath", "audio_path", "audio"});
  if (!row.seed_description.empty()) {
    audio = audio.empty() ? row.id : audio;
    if (row.transcription.empty()) {
      row.transcription = quoted_part(row.seed_description);
    }
  }
  if (audio.empty()) {
    throw DataError("\"audio_filepath\" is missing or empty");
  }
  row.audio = file_of(audio, "audio_filepath", folder);
  if (row.id.empty()) {
    row.id = runtime::to_hex(runtime::hash64(audio + "\n" + row.transcription));
  }
  return row;
}

fs::path relative_to_folder(const fs::path& audio, const fs::path& folder) {
  const fs::path whole = fs::absolute(audio).lexically_normal();
  const fs::path relative =
      whole.lexically_relative(fs::absolute(folder.empty() ? "." : folder).lexically_normal());
  return relative.empty() || *relative.begin() == ".." ? whole : relative;
}

}  // namespace

ManifestReport read_manifest(const fs::path& path) {
  if (fs::is_directory(path)) {
    throw DataError("{}: a manifest is a file of JSON Lines, this is a folder", path.string());
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    throw DataError("{}: no such manifest, or it cannot be read", path.string());
  }
  ManifestReport report;
  std::string line;
  for (std::size_t number = 1; read_line(in, line); ++number) {
    if (number == 1 && line.starts_with("\xef\xbb\xbf")) {
      line.erase(0, 3);
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    const auto complain = [&](const std::string& what) {
      report.problems.push_back(fmt::format("{}:{}: {}", path.string(), number, what));
    };
    try {
      report.rows.push_back(parse_row(line, path.parent_path()));
    } catch (const json::parse_error& error) {
      complain(fmt::format("not JSON (column {})", error.byte));
    } catch (const std::exception& error) {
      complain(error.what());
    }
  }
  if (report.rows.empty()) {
    throw DataError("{}: not one good line{}", path.string(),
                    report.problems.empty() ? std::string("; the file is empty")
                                            : "; the first problem: " + report.problems.front());
  }
  return report;
}

void write_manifest(const fs::path& path, const std::vector<ManifestRow>& rows) {
  std::string text;
  for (const ManifestRow& row : rows) {
    json line = row.fields;
    line["id"] = row.id;
    line["audio_filepath"] = relative_to_folder(row.audio, path.parent_path()).string();
    line["duration"] = std::round(row.duration * 1000.0) / 1000.0;
    line["transcription"] = row.transcription;
    if (!row.impulse_response.empty()) {
      line["impulse_response"] =
          relative_to_folder(row.impulse_response, path.parent_path()).string();
    }
    if (!row.prompt.empty()) {
      line["input"] = row.prompt;
    }
    if (!row.response.empty()) {
      line["target"] = row.response;
    }
    text += line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  runtime::write_file_atomically(path, text);
}

}  // namespace desta::datagen
