// Which rows of a dataset to learn from: those that a configuration would have made itself (a folder may hold the
// rows of many prompts, metadata choices and models; a trial learns from its own), or all that its filters let pass.
#pragma once

#include <cstdint>
#include <map>
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
  FilterOptions filters = {};
  Thresholds thresholds = {};             // by which what was measured has its words
  std::vector<std::string> models = {};   // origins of the attribute models (attribute_model.h)
  bool every_row = false;  // whatever configuration made it: the filters alone decide, and the recipe is not read
  friend bool operator==(const RowSelection&, const RowSelection&) = default;
};

struct SelectedRows {
  std::vector<std::size_t> rows;                  // indices
  std::map<std::string, std::uint64_t> rejected;  // how many others each filter has left out
};

// Rows whose id is the key of what the selection asks for and that pass its filters, in the order of their ids: not
// of their writing, which depends on which trial was first. With `every_row` those of any key, in the order of the
// dataset. Of a recording's rows with the same words `duplicates` takes the one that was written first.
[[nodiscard]] SelectedRows select_rows(const Dataset& dataset, const RowSelection& selection);

}  // namespace desta::datagen
