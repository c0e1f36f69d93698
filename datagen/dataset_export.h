// A dataset in the JSON Lines layouts in which DeSTA2's and DeSTA2.5's data are published; read_manifest()
// and import_jsonl() read them back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace desta::datagen {

enum class Layout {
  kDesta2,   // audio_filepath, transcription, input, target, duration
  kDesta25,  // id (the audio path), dataset, seed_description, prompt, response, messages
};

// "desta2" or "desta2.5"; ConfigError naming both for another word.
[[nodiscard]] Layout layout_of(const std::string& name);

// Attribute and word: {"gender", "Female"}.
using Selection = std::pair<std::string, std::string>;

// "gender=Female"; ConfigError when it is not of this form.
[[nodiscard]] Selection parse_selection(const std::string& text);

struct ExportReport {
  std::uint64_t rows = 0;      // written
  std::uint64_t left_out = 0;  // not selected
};

// Writes the rows that have all of `selections`, in order. Audio paths inside the file's folder are
// written relative to it, all others absolute; `dataset` is the name of the dataset's folder. The
// duration and the generator are not part of DeSTA2.5's layout, nor metadata of either. See write_output()
// for how the file is written. Throws DataError for a damaged dataset, or when not one row is selected (with
// the words that there are); InternalError when the file cannot be written.
ExportReport export_jsonl(const std::filesystem::path& folder, const std::filesystem::path& file,
                          Layout layout, const std::vector<Selection>& selections);

}  // namespace desta::datagen
