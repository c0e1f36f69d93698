// Manifests with everything that is known of their recordings.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "datagen/metadata.h"
#include "datagen/row_selection.h"
#include "datagen/seed_transcript.h"
#include "launch/config.h"
#include "runtime/actor/actor_system.h"

namespace desta::launch {

// Manifest rows with their audio measured by the extractor actors: annotated attributes, measured ones and
// those of models; of two of the same name the first of these three. Recordings that cannot be read are named in
// the log and left out. `kept`: the file in which measurements are kept for the next time (measurement_store.h);
// what stands there is not measured again.
struct MeasuredRow {
  std::string audio;
  std::string transcription;
  double duration = 0;
  datagen::Metadata metadata;
};
[[nodiscard]] std::vector<MeasuredRow> measure_manifest(runtime::ActorSystem& system,
                                                        const std::string& label,
                                                        const std::string& manifest,
                                                        const datagen::MetadataOptions& options,
                                                        const std::filesystem::path& kept = {});

// What stands in a dataset's rows for the LLM that answered: its path and fingerprint. Throws ModelError.
[[nodiscard]] std::string generator_name(const JobConfig& config);

// Seed options of the configuration.
[[nodiscard]] datagen::SeedOptions seed_options(const JobConfig& config);

// The rows to learn from by data.select: those that desta-datagen makes with this configuration, or all that its
// filters let pass; nothing where that is all. Throws ModelError, and ConfigError for a model's card.
[[nodiscard]] std::optional<datagen::RowSelection> row_selection(const JobConfig& config);

}  // namespace desta::launch
