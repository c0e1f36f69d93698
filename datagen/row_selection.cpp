#include "datagen/row_selection.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "datagen/metadata.h"

namespace desta::datagen {

std::vector<std::size_t> matching_rows(const Dataset& dataset, const RowSelection& selection) {
  const auto matches = [&](const Row& row) {
    if (row.generator != selection.generator || row.seed != selection.seed ||
        std::find(selection.prompts.begin(), selection.prompts.end(), row.prompt) ==
            selection.prompts.end()) {
      return false;
    }
    const auto metadata = metadata_from_json(nlohmann::json::parse(row.metadata_json));
    const std::string transcript =
        seed_transcript(row.transcription, row.duration, metadata, selection.seeds);
    return row.id == row_key(row.audio_filepath, transcript, row.prompt, row.generator, row.seed,
                             selection.decoding);
  };
  std::vector<std::size_t> rows;
  dataset.for_each([&](std::size_t index, const Row& row) {
    if (matches(row)) {
      rows.push_back(index);
    }
  });
  std::sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
    return dataset.id(a) < dataset.id(b);
  });
  return rows;
}

}  // namespace desta::datagen
