#include "launch/measured_manifest.h"

#include "actors/extractor_actor.h"
#include "actors/work_pool.h"
#include "datagen/attribute_model.h"
#include "datagen/corpora.h"
#include "launch/recipe_file.h"
#include "models/safetensors.h"
#include "runtime/core/log.h"
#include "runtime/core/progress.h"

namespace desta::launch {
namespace {

// Recordings that an extractor measures at a time: some tenths of a second of work.
constexpr std::size_t kPiece = 32;

}  // namespace

std::vector<MeasuredRow> measure_manifest(runtime::ActorSystem& system, const std::string& label,
                                          const std::string& manifest,
                                          const datagen::MetadataOptions& options) {
  const auto report = datagen::read_recordings(manifest);
  for (const auto& problem : report.problems) {
    runtime::log().warn("{}", problem);
  }
  std::vector<runtime::ActorRef<actors::ExtractorActor>> extractors;
  for (int node = 0; node < system.node_count(); ++node) {
    extractors.push_back(system.spawn<actors::ExtractorActor>(
        {.name = fmt::format("extractor/{}/{}", label, node), .node = node, .max_restarts = 3,
         .own_thread = true}));
  }
  std::vector<MeasuredRow> rows;
  runtime::ProgressBar bar("measuring " + label, report.rows.size());
  const std::size_t pieces = (report.rows.size() + kPiece - 1) / kPiece;
  std::vector<std::vector<actors::Extraction>> results(pieces);
  std::size_t done = 0;
  actors::pull_work<std::vector<actors::Extraction>>(
      [&] { return extractors.size(); }, pieces,
      [&](std::size_t worker, std::size_t piece) {
        std::vector<actors::ExtractionRequest> requests;
        for (std::size_t i = piece * kPiece; i < std::min(report.rows.size(), (piece + 1) * kPiece);
             ++i) {
          requests.push_back({report.rows[i].audio.string(), report.rows[i].transcription,
                              report.rows[i].impulse_response.string()});
        }
        return extractors[worker].call<&actors::ExtractorActor::measure>(requests);
      },
      [&](std::size_t piece, std::vector<actors::Extraction> extractions) {
        done += extractions.size();
        results[piece] = std::move(extractions);
        bar.update(done);
      });
  bar.finish();
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    const actors::Extraction& extraction = results[i / kPiece][i % kPiece];
    if (!extraction.problem.empty()) {
      runtime::log().warn("left out: {}", extraction.problem);
      continue;
    }
    const auto measured =
        datagen::metadata_from_json(nlohmann::json::parse(extraction.metadata));
    rows.push_back({report.rows[i].audio.string(), report.rows[i].transcription,
                    extraction.seconds,
                    datagen::merge(datagen::annotate(report.rows[i], options.thresholds), measured)});
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
  datagen::RowSelection selection;
  selection.every_row = every_row;
  selection.recipe = recipe_of(config);
  selection.filters = filters_of(config, selection.recipe);
  if (every_row) {
    return selection;
  }
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
