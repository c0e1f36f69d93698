// Manifests: JSON Lines, one recording a line.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace desta::datagen {

struct ManifestRow {
  std::string id;               // the row's "id", else a hash of path and transcription
  std::filesystem::path audio;  // absolute, or relative to the manifest's folder as joined with it
  double duration = 0;          // s; 0 when the manifest does not say
  std::string transcription;
  std::string prompt;            // "input" or "prompt": the question, where there is one
  std::string response;          // "target" or "response": the answer, where there is one
  std::string seed_description;  // DeSTA2.5: the seed transcript as published
  std::filesystem::path impulse_response;  // of the room, as a recording; empty when not stated
  nlohmann::json fields = nlohmann::json::object();  // the whole line, for metadata.h
};

struct ManifestReport {
  std::vector<ManifestRow> rows;
  std::vector<std::string> problems;  // "file:line: what is wrong"
};

// Reads what can be read. Layouts, by key:
//   ours:      audio_filepath, duration, transcription (or text), any metadata key,
//              impulse_response (a recording of the room's, which tells its reverberation)
//   DeSTA2:    audio_filepath, transcription, input, target, duration
//   DeSTA2.5:  id, dataset, seed_description, prompt, response, messages: the audio path is the
//              id, and a missing transcription is read from the seed description's quotes
// A bad line (not JSON, not UTF-8, longer than 1 MiB, not an object, a missing or empty path, a relative
// path that climbs out of the manifest's folder, a wrong type, a negative or absurd duration, a confidence outside 0 to 1)
// is named in `problems` and left out; blank lines are skipped. No line takes more memory than those. Audio files are
// not opened. Throws DataError when the manifest itself is missing or not one line is good.
[[nodiscard]] ManifestReport read_manifest(const std::filesystem::path& path);

// One object a line: row.fields with id, audio_filepath, duration, transcription (and input,
// target where set) from the row itself. Paths inside the manifest's folder are written relative
// to it. The file is whole or absent.
void write_manifest(const std::filesystem::path& path, const std::vector<ManifestRow>& rows);

}  // namespace desta::datagen
