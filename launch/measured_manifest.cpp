#include "launch/measured_manifest.h"

#include <algorithm>
#include <functional>

#include "actors/extractor_actor.h"
#include "actors/work_pool.h"
#include "datagen/attribute_model.h"
#include "datagen/corpora.h"
#include "datagen/measurement_store.h"
#include "launch/recipe_file.h"
#include "models/safetensors.h"
#include "runtime/core/log.h"
#include "runtime/core/progress.h"

namespace desta::launch {
namespace {

// Recordings that an extractor measures at a time: some tenths of a second of work.
constexpr std::size_t kPiece = 32;

// Has the extractors measure the rows of these numbers; `take` gets each of them as soon as it is done.
void measure(runtime::ActorSystem& system, const std::string& label, const std::vector<datagen::ManifestRow>& rows,
             const std::vector<std::size_t>& numbers,
             const std::function<void(std::size_t, const actors::Extraction&)>& take) {
  if (numbers.empty()) {
    return;
  }
  std::vector<runtime::ActorRef<actors::ExtractorActor>> extractors;
  for (int node = 0; node < system.node_count(); ++node) {
    extractors.push_back(system.spawn<actors::ExtractorActor>(
        {.name = fmt::format("extractor/{}/{}", label, node), .node = node, .max_restarts = 3,
         .own_thread = true}));
  }
  runtime::ProgressBar bar("measuring " + label, numbers.size());
  std::size_t done = 0;
  actors::pull_work<std::vector<actors::Extraction>>(
      [&] { return extractors.size(); }, (numbers.size() + kPiece - 1) / kPiece,
      [&](std::size_t worker, std::size_t piece) {
        std::vector<actors::ExtractionRequest> requests;
        for (std::size_t i = piece * kPiece; i < std::min(numbers.size(), (piece + 1) * kPiece); ++i) {
          const datagen::ManifestRow& row = rows[numbers[i]];
          requests.push_back({row.audio.string(), row.transcription, row.impulse_response.string()});
        }
        return extractors[worker].call<&actors::ExtractorActor::measure>(requests);
      },
      [&](std::size_t piece, const std::vector<actors::Extraction>& extractions) {
        for (std::size_t i = 0; i < extractions.size(); ++i) {
          take(numbers[piece * kPiece + i], extractions[i]);
        }
        done += extractions.size();
        bar.update(done);
      });
  bar.finish();
}

}  // namespace

std::vector<MeasuredRow> measure_manifest(runtime::ActorSystem& system, const std::string& label,
                                          const std::string& manifest,
                                          const datagen::MetadataOptions& options,
                                          const std::filesystem::path& kept) {
  const auto report = datagen::read_recordings(manifest);
  for (const auto& problem : report.problems) {
    runtime::log().warn("{}", problem);
  }
  std::vector<std::string> origins;
  for (const std::string& card : options.models) {
    origins.push_back(datagen::attribute_model_origin(card));
  }
  std::optional<datagen::MeasurementStore> store;
  if (!kept.empty()) {
    store.emplace(kept);
  }
  std::vector<std::optional<std::uint64_t>> keys(report.rows.size());
  std::vector<std::optional<datagen::MeasuredRecording>> found(report.rows.size());
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    const datagen::ManifestRow& row = report.rows[i];
    if (store.has_value()) {
      keys[i] = datagen::measurement_key(row.audio, row.transcription, row.impulse_response, options, origins);
      found[i] = keys[i].has_value() ? store->find(*keys[i]) : std::nullopt;
    }
    if (!found[i].has_value()) {
      missing.push_back(i);
    }
  }
  if (missing.size() < report.rows.size()) {
    runtime::log().info("{}: {} recordings were measured before, {} to measure", label,
                        report.rows.size() - missing.size(), missing.size());
  }
  measure(system, label, report.rows, missing, [&](std::size_t i, const actors::Extraction& extraction) {
    if (!extraction.problem.empty()) {
      runtime::log().warn("left out: {}", extraction.problem);
      return;
    }
    found[i] = {extraction.seconds, datagen::metadata_from_json(nlohmann::json::parse(extraction.metadata))};
    if (keys[i].has_value()) {
      store->add(*keys[i], *found[i]);
    }
  });
  std::vector<MeasuredRow> rows;
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    if (found[i].has_value()) {
      rows.push_back({report.rows[i].audio.string(), report.rows[i].transcription, found[i]->seconds,
                      datagen::merge(datagen::annotate(report.rows[i], options.thresholds), found[i]->metadata)});
    }
  }
  return rows;
}

std::string generator_name(const JobConfig& config) {
  const std::string& llm = config.training.models.llm;
  return fmt::format("{}@{}", llm, models::model_fingerprint(llm));
}

std::optional<datagen::RowSelection> row_selection(const JobConfig& config) {
  const bool every_row = config.data.select == "all";
  if (every_row && config.data.filters == datagen::FilterOptions{}) {
    return std::nullopt;
  }
  const datagen::Recipe recipe = recipe_of(config);
  datagen::RowSelection selection;
  selection.every_row = every_row;
  selection.filters = filters_of(config, recipe);
  if (every_row) {
    return selection;
  }
  selection.recipe = recipe;
  selection.generator = generator_name(config);
  selection.seed = config.data_seed();
  selection.decoding = config.data.decoding.describe();
  selection.thresholds = config.data.metadata.thresholds;
  for (const std::string& card : config.data.metadata.models) {
    selection.models.push_back(datagen::attribute_model_origin(card));
  }
  return selection;
}

datagen::SeedOptions seed_options(const JobConfig& config) {
  datagen::SeedOptions options;
  options.attributes = config.data.attributes;
  options.show_source = config.data.show_source;
  return options;
}

}  // namespace desta::launch
