#include "datagen/dataset_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "datagen/dataset_statistics.h"
#include "runtime/core/error.h"
#include "runtime/core/random.h"

namespace desta::datagen {

using runtime::ConfigError;

std::vector<std::size_t> random_rows(std::size_t size, std::size_t count, std::uint64_t seed) {
  runtime::Random random(seed);
  std::vector<std::size_t> rows;
  std::unordered_set<std::size_t> drawn;
  while (rows.size() < std::min(size, count)) {
    const std::size_t row = random.below(size);
    if (drawn.insert(row).second) {
      rows.push_back(row);
    }
  }
  return rows;
}

std::vector<std::size_t> chosen_rows(const Dataset& dataset, const std::filesystem::path& folder,
                                     const RowChoice& choice) {
  if (choice.random > 0) {
    return random_rows(dataset.size(), choice.random, choice.seed);
  }
  if (!choice.id.empty()) {
    const auto found = dataset.find(choice.id);
    if (!found) {
      throw ConfigError("{}: no row has the id {}", folder.string(), choice.id);
    }
    return {*found};
  }
  const std::size_t row = choice.row.value_or(0);
  if (row >= dataset.size()) {
    throw ConfigError("{}: no row {}; it has the rows 0 to {}", folder.string(), row,
                      dataset.size() - 1);
  }
  return {row};
}

std::string row_text(const Row& row, std::size_t index) {
  std::string text = fmt::format("row {}\n", index);
  const auto add = [&](const char* name, const std::string& value) {
    text += fmt::format("  {:<16} {}\n", name, value);
  };
  add("id", row.id);
  add("audio", fmt::format("{} ({:.2f} s)", row.audio_filepath, row.duration));
  add("transcription", row.transcription);
  add("seed transcript", row.seed_transcript);
  add("prompt", row.prompt);
  if (!row.group.empty()) {
    add("group", row.group);
  }
  add("response", row.response);
  add("generator", row.generator);
  add("decoding", row.decoding.empty() ? "not kept" : row.decoding);
  add("seed", std::to_string(row.seed));
  for (const Attribute& attribute : metadata_of(row)) {
    add(attribute.name.c_str(), fmt::format("{} [{}]", attribute.text, name_of(attribute.source)));
  }
  return text;
}

std::string row_json(const Row& row, std::size_t index) {
  const nlohmann::ordered_json object = {{"row", index},
                                         {"id", row.id},
                                         {"audio_filepath", row.audio_filepath},
                                         {"duration", row.duration},
                                         {"transcription", row.transcription},
                                         {"seed_transcript", row.seed_transcript},
                                         {"prompt", row.prompt},
                                         {"group", row.group},
                                         {"response", row.response},
                                         {"generator", row.generator},
                                         {"decoding", row.decoding},
                                         {"seed", row.seed},
                                         {"metadata", metadata_to_json(metadata_of(row))}};
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace desta::datagen
