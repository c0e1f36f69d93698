// Recipes as YAML: which questions the data generation asks (datagen/recipe.h).
#pragma once

#include <filesystem>

#include "datagen/recipe.h"
#include "launch/config.h"

namespace desta::launch {

// Reads a recipe strictly, as the configuration is read. What it does not say of seed transcripts is as in
// `seeds`. A group's `file` of prompts, one a line, lies beside the recipe. Throws ConfigError naming
// file, line and key.
[[nodiscard]] datagen::Recipe load_recipe(const std::filesystem::path& path,
                                          const datagen::SeedOptions& seeds);

// The configuration's: that of data.recipe, or its prompts for every recording. Throws as load_recipe().
[[nodiscard]] datagen::Recipe recipe_of(const JobConfig& config);

// Its filters; where `mentions` is on, with what the recipe's groups say of it.
[[nodiscard]] datagen::FilterOptions filters_of(const JobConfig& config, const datagen::Recipe& recipe);

}  // namespace desta::launch
