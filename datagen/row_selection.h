// Which rows of a dataset a configuration would have made itself. A folder may hold the rows of many
// prompts, metadata choices and models; a trial learns from its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "datagen/dataset.h"
#include "datagen/recipe.h"
#include "datagen/row_filter.h"

namespace desta::datagen {

// What a row's key depends on besides its recording (see row_key()), what its words do, and which of the rows are
// kept. A row does not match when these thresholds give another word to what was measured, or when its seed
// transcript has an attribute from a model that is not among these.
struct RowSelection {
  Recipe recipe;
  std::string generator;
  std::uint64_t seed = 0;
  std::string decoding;
  FilterOptions filters = {};  // but for `duplicates`, which looks at more than one row
  Thresholds thresholds = {};             // by which what was measured has its words
  std::vector<std::string> models = {};   // origins of the attribute models (attribute_model.h)
  friend bool operator==(const RowSelection&, const RowSelection&) = default;
};

// Indices of the rows whose id is the key of what the selection asks for and that pass its filters, in the
// order of their ids: not of their writing, which depends on which trial was first.
[[nodiscard]] std::vector<std::size_t> matching_rows(const Dataset& dataset,
                                                     const RowSelection& selection);

}  // namespace desta::datagen
