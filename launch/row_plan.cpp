#include "launch/row_plan.h"

#include <set>

#include "launch/recipe_file.h"

namespace desta::launch {

std::vector<datagen::Row> plan_rows(const JobConfig& config,
                                    const std::vector<MeasuredRow>& measured) {
  const datagen::Recipe recipe = recipe_of(config);
  const std::string generator = generator_name(config);
  std::vector<datagen::Row> rows;
  for (const auto& source : measured) {
    const std::string metadata = datagen::metadata_to_json(source.metadata).dump();
    std::set<std::string> ids;  // two groups may ask the same with the same seed
    for (auto& asked : datagen::asked_of(recipe, source.audio, source.metadata, config.data_seed())) {
      datagen::Row row;
      row.audio_filepath = source.audio;
      row.transcription = source.transcription;
      row.duration = source.duration;
      row.seed_transcript = datagen::seed_transcript(source.transcription, source.duration,
                                                     source.metadata, asked.seeds);
      row.prompt = std::move(asked.prompt);
      row.group = std::move(asked.group);
      row.metadata_json = metadata;
      row.generator = generator;
      row.decoding = config.data.decoding.describe();
      row.seed = config.data_seed();
      row.id = datagen::row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator,
                                row.seed, row.decoding);
      if (ids.insert(row.id).second) {
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

std::map<std::string, std::string> manifests_of(const JobConfig& config) {
  const bool synthetic = config.data.synthetic.enabled;
  std::map<std::string, std::string> manifests;
  if (!config.data.train_manifest.empty()) {
    manifests["train"] = config.data.train_manifest;
  } else if (synthetic) {
    manifests["train"] = (config.speech_folder("train") / "manifest.jsonl").string();
  } else {
    throw runtime::ConfigError("data.train_manifest is empty and data.synthetic.enabled is false: "
                               "there is no speech to make data from");
  }
  if (!config.data.validation_manifest.empty()) {
    manifests["validation"] = config.data.validation_manifest;
  } else if (synthetic && config.data.synthetic.validation > 0) {
    manifests["validation"] = (config.speech_folder("validation") / "manifest.jsonl").string();
  }
  return manifests;
}

}  // namespace desta::launch
