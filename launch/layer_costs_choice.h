// Where the costs of layers come from, for the cut of the models.
#pragma once

#include <string>

#include "launch/program.h"

namespace desta::launch {

// Makes of pipeline.costs what it stands for. Texts are as long as the dataset's are on average, or, before
// there is one, as long as they may be. Measured costs are taken by rank 0 and are the same on all
// ranks; they stay in <run.folder>/layer_costs.json, so that a run of the same models that goes on is cut as
// before. Nothing is measured for a run whose cut does not hang on it. A dry run measures, if there is no such
// file, and writes none. `profile`: measure in any case, and write them to this file as well; "": do not.
// Collective. Throws ConfigError naming the file that cannot be used.
void settle_layer_costs(Job& job, const std::string& profile);

}  // namespace desta::launch
