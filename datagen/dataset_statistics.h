// What a dataset holds, counted: how balanced its attributes are and who says so, what was asked, who
// answered and how, how long recordings and answers are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "datagen/dataset.h"
#include "datagen/metadata.h"
#include "datagen/rejected_rows.h"

namespace desta::datagen {

// Numbers in bins of one round width.
struct Distribution {
  std::uint64_t count = 0;
  double minimum = 0;
  double median = 0;
  double mean = 0;
  double maximum = 0;
  double first = 0;  // where the first bin begins
  double width = 1;
  std::vector<std::uint64_t> bins;  // the last one takes what lies above, too
};

// At most 30 bins, which reach up to the 99.5th percentile. None without numbers.
[[nodiscard]] Distribution distribution_of(std::vector<float> numbers);

struct WordCount {
  std::string word;
  std::uint64_t annotated = 0;  // rows
  std::uint64_t measured = 0;
  std::uint64_t model = 0;
  [[nodiscard]] std::uint64_t rows() const { return annotated + measured + model; }
};

struct AttributeBalance {
  std::string name;
  std::string unit;  // of the numbers
  std::uint64_t annotated = 0;
  std::uint64_t measured = 0;
  std::uint64_t model = 0;
  std::uint64_t absent = 0;
  std::vector<WordCount> words;  // the most frequent first
  Distribution numbers;          // of the rows that have one
};

struct PromptCount {
  std::string prompt;
  std::uint64_t rows = 0;
};

struct GroupCount {
  std::string group;  // of a recipe; empty: asked without one
  std::uint64_t rows = 0;
};

// What a filter took out of the dataset, as rejected_rows.h keeps it.
struct FilterCount {
  std::string filter;
  std::uint64_t rows = 0;
  std::vector<RejectedRow> samples;  // a few, spread over all
};

struct GeneratorCount {
  std::string generator;
  std::string decoding;     // empty: not kept
  std::uint64_t seeds = 0;  // how many different ones
  std::uint64_t rows = 0;
};

struct DatasetStatistics {
  std::filesystem::path folder;
  std::uint64_t shards = 0;
  std::uint64_t bytes = 0;
  std::uint64_t rows = 0;
  std::uint64_t recordings = 0;  // different audio files
  double seconds = 0;            // of them
  std::uint64_t empty_responses = 0;
  std::vector<AttributeBalance> attributes;  // by name
  std::vector<PromptCount> prompts;          // the most frequent first, as generators
  std::vector<GroupCount> groups;            // the same; none where no row has a group
  std::vector<FilterCount> filters;          // the same
  std::vector<GeneratorCount> generators;
  Distribution durations;            // s, of recordings
  Distribution response_words;       // between spaces
  Distribution response_characters;  // of UTF-8
};

// Reads every row. Throws DataError for a folder that is no dataset, a damaged row, or metadata that
// are none, naming the row.
[[nodiscard]] DatasetStatistics dataset_statistics(const std::filesystem::path& folder);

// What metadata_json says; none for an empty text or {}. Throws DataError naming the row by its id.
[[nodiscard]] Metadata metadata_of(const Row& row);

// For a terminal: the `most` most frequent words and prompts, the others in one number.
[[nodiscard]] std::string statistics_text(const DatasetStatistics& statistics,
                                          std::size_t most = 12);

}  // namespace desta::datagen
