#include "launch/layer_costs_choice.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <vector>

#include "models/tokenizer.h"
#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "trainer/batch_loader.h"
#include "trainer/layer_profile.h"
#include "trainer/training_layout.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

// Tokens of text a row, on average over the first rows; what they may be at most where there are none yet.
std::int64_t usual_text_tokens(const trainer::TrainingOptions& options,
                               const trainer::ModelShapes& shapes) {
  constexpr std::size_t kRows = 256;  // enough: their mean is within 2 % of all 1,600 rows of the quickstart
  if (!fs::exists(options.dataset)) {
    return shapes.text_tokens;
  }
  const models::Tokenizer tokenizer(options.models.llm);
  const trainer::BatchLoader loader(options.dataset, tokenizer, trainer::settled(options).batch,
                                    shapes.adapter.queries, options.seed, options.selection);
  std::vector<std::size_t> rows(std::min(kRows, loader.rows()));
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  const auto tokens = loader.text(rows).packing.total() / static_cast<std::int64_t>(rows.size());
  return std::max<std::int64_t>(1, tokens - shapes.adapter.queries);
}

trainer::LayerCosts measure(trainer::TrainingOptions options) {
  options.pipeline.measured.reset();
  const auto device = models::choose_device(options.models.device, options.models.local_rank);
  auto shapes = trainer::read_shapes(options);
  shapes.text_tokens = usual_text_tokens(options, shapes);
  auto costs = trainer::measure_layer_costs(shapes, options.batch.micro_size,
                                            models::parse_precision(options.models.precision), device);
  runtime::log().info("costs of layers {}", costs.origin);
  return costs;
}

// Where a run keeps what it has measured.
fs::path kept_file(const Job& job) {
  return fs::path(job.config.training.folder) / "layer_costs.json";
}

std::string describe_models(const trainer::TrainingOptions& options) {
  return trainer::describe(trainer::read_shapes(options));
}

// On rank 0.
std::string find_costs(const Job& job, const std::string& profile) {
  const trainer::TrainingOptions& options = job.config.training;
  const fs::path kept = kept_file(job);
  if (!profile.empty()) {
    const std::string json = trainer::to_json(measure(options));
    runtime::write_file_atomically(profile, json);
    return json;
  }
  if (fs::exists(kept)) {
    const std::string json = runtime::read_file(kept);
    if (trainer::parse_layer_costs(json, kept.string()).models == describe_models(options)) {
      return json;
    }
  }
  const std::string json = trainer::to_json(measure(options));
  if (!job.dry_run) {
    fs::create_directories(options.folder);
    runtime::write_file_atomically(kept, json);
  }
  return json;
}

}  // namespace

void settle_layer_costs(Job& job, const std::string& profile) {
  trainer::PipelineOptions& pipeline = job.config.training.pipeline;
  if (profile.empty()) {
    const bool nothing_to_find = pipeline.parts() == 1 || !pipeline.cut.empty();
    if (pipeline.costs == "counted" || (pipeline.costs == "measured" && nothing_to_find && !job.dry_run)) {
      return;
    }
    if (pipeline.costs != "measured") {
      pipeline.measured = trainer::read_layer_costs(pipeline.costs);
      return;
    }
  }
  const std::string mine = job.mpi.rank() == 0 ? find_costs(job, profile) : std::string();
  pipeline.measured = trainer::parse_layer_costs(job.mpi.all_gather(mine).front(), "rank 0's costs of layers");
}

}  // namespace desta::launch
