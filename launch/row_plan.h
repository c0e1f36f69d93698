// The rows that a configuration asks for.
#pragma once

#include <vector>

#include "datagen/dataset.h"
#include "launch/config.h"
#include "launch/measured_manifest.h"

namespace desta::launch {

// A row for every recording and prompt of the configuration, recording by recording, with its key
// (datagen::row_key); responses are still empty. Throws ModelError when models.llm cannot be read.
[[nodiscard]] std::vector<datagen::Row> plan_rows(const JobConfig& config,
                                                  const std::vector<MeasuredRow>& measured);

}  // namespace desta::launch
