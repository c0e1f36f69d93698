#include "launch/layer_costs_choice.h"

#include <filesystem>

#include "models/torch_util.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/log.h"
#include "trainer/layer_profile.h"
#include "trainer/replica_engine.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

trainer::LayerCosts measure(trainer::TrainingOptions options) {
  options.pipeline.measured.reset();
  const auto device = models::choose_device(options.models.device, options.models.local_rank);
  auto costs = trainer::measure_layer_costs(trainer::read_shapes(options), options.batch.micro_size,
                                            models::parse_precision(options.models.precision), device);
  runtime::log().info("costs of layers {}", costs.origin);
  return costs;
}

// On rank 0.
std::string find_costs(const Job& job, const std::string& profile) {
  const trainer::TrainingOptions& options = job.config.training;
  const fs::path kept = fs::path(options.folder) / "layer_costs.json";
  if (!profile.empty()) {
    const std::string json = trainer::to_json(measure(options));
    runtime::write_file_atomically(profile, json);
    return json;
  }
  if (fs::exists(kept)) {
    return runtime::read_file(kept);
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
  if (profile.empty() && pipeline.costs == "counted") {
    return;
  }
  if (profile.empty() && pipeline.costs != "measured") {
    pipeline.measured = trainer::read_layer_costs(pipeline.costs);
    return;
  }
  const std::string mine = job.mpi.rank() == 0 ? find_costs(job, profile) : std::string();
  pipeline.measured = trainer::parse_layer_costs(
      job.mpi.all_gather(mine).front(),
      (fs::path(job.config.training.folder) / "layer_costs.json").string());
}

}  // namespace desta::launch
