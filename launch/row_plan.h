// The rows that a configuration asks for.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "datagen/dataset.h"
#include "launch/config.h"
#include "launch/measured_manifest.h"

namespace desta::launch {

// A row for every recording and question that the configuration's recipe (or its prompts) asks about it,
// recording by recording, with its key (datagen::row_key); responses are still empty. Throws ModelError
// when models.llm cannot be read.
[[nodiscard]] std::vector<datagen::Row> plan_rows(const JobConfig& config,
                                                  const std::vector<MeasuredRow>& measured);

// Where the recordings stand that rows are made of: the manifests of "train" and, if there is one,
// "validation". Throws ConfigError when there is nothing to learn from.
[[nodiscard]] std::map<std::string, std::string> manifests_of(const JobConfig& config);

}  // namespace desta::launch
