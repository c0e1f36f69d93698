// Rows of a dataset for a person or another program to read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "datagen/dataset.h"

namespace desta::datagen {

// By number, by id, or drawn; row 0 when nothing is set.
struct RowChoice {
  std::optional<std::size_t> row = {};
  std::string id = {};
  std::size_t random = 0;
  std::uint64_t seed = 1;
};

// `count` different numbers below `size`, or all of them, in the order drawn.
[[nodiscard]] std::vector<std::size_t> random_rows(std::size_t size, std::size_t count,
                                                   std::uint64_t seed);

// Throws ConfigError naming the folder for a row that is not there.
[[nodiscard]] std::vector<std::size_t> chosen_rows(const Dataset& dataset,
                                                   const std::filesystem::path& folder,
                                                   const RowChoice& choice);

// One line a field.
[[nodiscard]] std::string row_text(const Row& row, std::size_t index);

// All fields as one JSON object on one line; `metadata` is the array of attributes.
[[nodiscard]] std::string row_json(const Row& row, std::size_t index);

}  // namespace desta::datagen
