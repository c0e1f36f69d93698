// What a recipe comes to, before anything is measured or generated.
#pragma once

#include <string>

#include "launch/config.h"

namespace desta::launch {

// A table for a person: each group of the recipe with its weight, its prompts, the recordings that it
// would be asked about and the rows that this gives, drawn as the generation will draw them. Recordings
// are those of `manifest` (datagen::read_recordings), or, where synthetic speech named `name` has not been
// spoken yet, as many as the configuration asks for. Attributes that are measured count as known in all
// of them. Throws ConfigError as recipe_of(), DataError when the manifest cannot be read.
[[nodiscard]] std::string recipe_plan(const JobConfig& config, const std::string& name,
                                      const std::string& manifest);

}  // namespace desta::launch
