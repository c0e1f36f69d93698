#include "launch/row_plan.h"

namespace desta::launch {

std::vector<datagen::Row> plan_rows(const JobConfig& config,
                                    const std::vector<MeasuredRow>& measured) {
  const auto seeds = seed_options(config);
  const std::string generator = generator_name(config);
  std::vector<datagen::Row> rows;
  for (const auto& source : measured) {
    for (const auto& prompt : config.data.prompts) {
      datagen::Row row;
      row.audio_filepath = source.audio;
      row.transcription = source.transcription;
      row.duration = source.duration;
      row.seed_transcript = datagen::seed_transcript(source.transcription, source.duration,
                                                     source.metadata, seeds);
      row.prompt = prompt;
      row.metadata_json = datagen::metadata_to_json(source.metadata).dump();
      row.generator = generator;
      row.decoding = config.data.decoding.describe();
      row.seed = config.data_seed();
      row.id = datagen::row_key(row.audio_filepath, row.seed_transcript, row.prompt, row.generator,
                                row.seed, row.decoding);
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace desta::launch
