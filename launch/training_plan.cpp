#include "launch/training_plan.h"

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "runtime/core/atomic_file.h"
#include "trainer/partition.h"
#include "trainer/replica_engine.h"
#include "trainer/schedule_table.h"
#include "trainer/simulator.h"
#include "trainer/timeline.h"

namespace desta::launch {
namespace {

// In seconds of a machine of 1 TFLOP/s: frozen layers cost the same backward as forward.
std::vector<trainer::StageCost> costs_of(const std::vector<trainer::StagePart>& parts,
                                         std::int64_t samples) {
  std::vector<trainer::StageCost> costs;
  for (const auto& part : parts) {
    const double seconds = part.work * static_cast<double>(samples) / 1e12;
    const bool backward = part.has_backward();
    costs.push_back({.forward = seconds * (backward ? 0.5 : 1.0), .backward = backward ? seconds * 0.5 : 0.0});
  }
  return costs;
}

}  // namespace

void print_training_plan(const trainer::TrainingOptions& options, const PlanFiles& files) {
  const auto shapes = trainer::read_shapes(options);
  const trainer::PipelineOptions& pipeline = options.pipeline;
  const auto parts = trainer::partition(shapes, pipeline.parts());
  const std::int64_t bytes = options.models.precision == "float32" ? 4 : 2;
  fmt::print("{} stages x {} replicas = {} ranks\n", pipeline.stages, options.replicas,
             pipeline.stages * options.replicas);
  for (const auto& part : parts) {
    fmt::print("  stage {}: {}; {:.1f} MB frozen, {:.2f} GFLOP a sample\n",
               pipeline.chunks == 1 ? fmt::format("{}", part.stage)
                                    : fmt::format("{}, chunk {}", part.stage % pipeline.stages,
                                                  part.stage / pipeline.stages),
               part.describe(), static_cast<double>(part.parameters * bytes) / 1e6, part.work / 1e9);
  }
  const std::int64_t microbatches =
      options.batch.global_size / options.batch.micro_size / options.replicas;
  const auto schedule = trainer::schedule_of(options, parts);
  const auto simulation = trainer::simulate(schedule, costs_of(parts, options.batch.micro_size));
  fmt::print("schedule {} with {} microbatches: bubble {:.1f}% (predicted from operation counts)\n",
             pipeline.schedule, microbatches, 100 * simulation.bubble());
  for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    fmt::print("  stage {}: at most {} microbatches in flight\n", rank,
               simulation.peak_in_flight[rank]);
  }
  if (!files.schedule.empty()) {
    runtime::write_file_atomically(files.schedule, trainer::to_csv(schedule));
  }
  if (!files.timeline.empty()) {
    runtime::write_file_atomically(
        files.timeline, std::filesystem::path(files.timeline).extension() == ".svg"
                            ? trainer::to_svg(simulation, pipeline.schedule, "s at 1 TFLOP/s")
                            : trainer::to_chrome_trace(simulation));
  }
}

}  // namespace desta::launch
