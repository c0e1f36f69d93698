#include "launch/recipe_plan.h"

#include <fmt/ranges.h>

#include <map>
#include <set>

#include "datagen/corpora.h"
#include "launch/recipe_file.h"
#include "launch/synthetic_sets.h"

namespace desta::launch {
namespace {

struct Recording {
  std::string audio;
  datagen::Metadata metadata;
};

// What measure_metadata() finds in speech with a transcription.
const std::vector<std::string> kMeasured = {"pitch", "volume", "speaking_speed", "noise_level", "duration"};

void add_attribute(datagen::Metadata& metadata, const std::string& name) {
  if (datagen::find_attribute(metadata, name) == nullptr) {
    metadata.emplace_back().name = name;
  }
}

std::vector<Recording> recordings_of(const JobConfig& config, const std::string& name,
                                     const std::string& manifest) {
  std::vector<Recording> recordings;
  std::error_code ignored;
  if (manifest == (config.speech_folder(name) / "manifest.jsonl").string() &&
      !std::filesystem::exists(manifest, ignored)) {
    for (const auto& set : synthetic_sets(config)) {
      for (std::size_t i = 0; set.name == name && i < set.corpus.count; ++i) {
        auto& recording = recordings.emplace_back(Recording{fmt::format("{}/{}", name, i), {}});
        for (const char* attribute : {"gender", "age", "accent"}) {
          add_attribute(recording.metadata, attribute);
        }
      }
    }
  } else {
    for (const auto& row : datagen::read_recordings(manifest).rows) {
      recordings.push_back({row.audio.string(), datagen::annotate(row, config.data.metadata.thresholds)});
    }
  }
  for (auto& recording : recordings) {
    for (const auto& attribute : kMeasured) {
      add_attribute(recording.metadata, attribute);
    }
  }
  return recordings;
}

std::string count_text(std::int64_t count) { return count == 0 ? "all" : fmt::format("{}", count); }

}  // namespace

std::string recipe_plan(const JobConfig& config, const std::string& name, const std::string& manifest) {
  const datagen::Recipe recipe = recipe_of(config);
  struct Counts {
    std::size_t recordings = 0;
    std::size_t rows = 0;
  };
  std::map<std::string, Counts> counts;
  std::size_t rows = 0;
  const auto recordings = recordings_of(config, name, manifest);
  for (const auto& recording : recordings) {
    std::set<std::string> groups;
    for (const auto& asked :
         datagen::asked_of(recipe, recording.audio, recording.metadata, config.data_seed())) {
      ++counts[asked.group].rows;
      ++rows;
      groups.insert(asked.group);
    }
    for (const auto& group : groups) {
      ++counts[group].recordings;
    }
  }
  std::string text = fmt::format("  {} recordings, {} groups each: {} rows\n", recordings.size(),
                                 count_text(recipe.draw), rows);
  for (const auto& group : recipe.groups) {
    const Counts& count = counts[group.name];
    text += fmt::format("  {:<20} weight {:<6g} {} of {} prompts each{}: {} recordings, {} rows ({:.1f} %)\n",
                        group.name, group.weight, count_text(group.each), group.prompts.size(),
                        group.needs.empty() ? "" : fmt::format(", needs {}", fmt::join(group.needs, ", ")),
                        count.recordings, count.rows,
                        rows == 0 ? 0.0 : 100.0 * static_cast<double>(count.rows) / static_cast<double>(rows));
  }
  return text;
}

}  // namespace desta::launch
