#include "datagen/synthetic_corpus.h"

#include "datagen/audio_file.h"
#include "datagen/synthetic_speech.h"
#include "runtime/core/error.h"

namespace desta::datagen {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

json plan_to_json(const UtterancePlan& plan) {
  const PlannedWords words = planned_words(plan);
  json object = {{"words_per_minute", plan.settings.words_per_minute},
                 {"pitch_setting", plan.settings.pitch},
                 {"level_dbfs", plan.level_dbfs},
                 {"pitch", words.pitch},
                 {"volume", words.volume},
                 {"speaking_speed", words.speed},
                 {"noise_level", words.noise}};
  if (plan.snr_db) {
    object["noise"] = name_of(plan.noise);
  }
  return object;
}

ManifestRow row_of(const UtterancePlan& plan, const fs::path& audio, double seconds) {
  ManifestRow row;
  row.id = audio.stem().string();
  row.audio = audio;
  row.duration = seconds;
  row.transcription = plan.sentence;
  row.fields = {{"gender", plan.voice.gender},
                {"age", plan.voice.age},
                {"accent", plan.voice.accent},
                {"speaker", plan.voice.id},
                {"plan", plan_to_json(plan)}};
  if (plan.snr_db) {
    row.fields["snr_db"] = *plan.snr_db;
  }
  if (plan.c50_db) {
    row.fields["c50_db"] = *plan.c50_db;
  }
  return row;
}

}  // namespace

std::vector<ManifestRow> write_synthetic_corpus(
    Synthesiser& synthesiser, const SyntheticCorpusOptions& options,
    const std::function<void(std::size_t done, std::size_t count)>& progress) {
  const std::vector<Voice> speakers =
      options.voices.empty() ? voices(options.split) : options.voices;
  const fs::path audio = options.folder / "audio";
  std::vector<ManifestRow> rows;
  for (std::size_t i = 0; i < options.count; ++i) {
    runtime::Random random(runtime::mix_seed(options.seed, i));
    const UtterancePlan plan = plan_utterance(random, options.split, speakers, options.air);
    const fs::path path = audio / fmt::format("{:06}-{}.wav", i, plan.id);
    double seconds = 0;
    if (fs::exists(path)) {
      seconds = audio_info(path).seconds;
    } else {
      const Waveform waveform = render(synthesiser, plan, random);
      write_wav(path, waveform);
      seconds = waveform.seconds();
    }
    rows.push_back(row_of(plan, path, seconds));
    if (progress) {
      progress(i + 1, options.count);
    }
  }
  write_manifest(options.folder / "manifest.jsonl", rows);
  return rows;
}

}  // namespace desta::datagen
