#include "launch/training_plan.h"

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "launch/cluster_file.h"
#include "runtime/core/atomic_file.h"
#include "runtime/core/error.h"
#include "trainer/measured_step.h"
#include "trainer/partition.h"
#include "trainer/training_layout.h"
#include "trainer/schedule_table.h"
#include "trainer/simulator.h"
#include "trainer/timeline.h"

namespace desta::launch {
namespace {

constexpr double kGiB = 1U << 30;

// A step of one pipeline, on a cluster or with links that take no time.
class Plan {
 public:
  Plan(const trainer::TrialSet& trials, std::optional<Cluster> cluster)
      : cluster_(std::move(cluster)),
        trials_(cluster_.has_value() ? on_cluster(trials, *cluster_) : trials),
        options_(trials_.common()) {
    shapes_ = trainer::read_shapes(options_);
    parts_ = trainer::cut_models(trials_);
    schedule_ = trainer::schedule_of(trials_, parts_);
    simulation_ = trainer::simulate(schedule_, costs(), reduction_seconds());
  }

  void print() const {
    const trainer::PipelineOptions& pipeline = options_.pipeline;
    fmt::print("{} stages x {} replicas = {} ranks{}\n", pipeline.stages, options_.replicas, ranks(),
               cluster_.has_value() ? fmt::format(" of {}'s {}", cluster_->name, cluster_->ranks()) : "");
    if (pipeline.measured.has_value()) {
      fmt::print("costs of layers {}\n", pipeline.measured->origin);
    }
    for (const auto& part : parts_) {
      print(part);
    }
    std::int64_t microbatches = 0;
    for (const auto& trial : trials_) {
      microbatches += trial.own_microbatches();
    }
    fmt::print("schedule {} with {} microbatches{}: bubble {:.1f}% (predicted from {})\n",
               pipeline.schedule, microbatches,
               trials_.size() > 1 ? fmt::format(" of {} trials", trials_.size()) : "", 100 * simulation_.bubble(),
               pipeline.measured.has_value() ? "measured costs" : "operation counts");
    for (std::size_t rank = 0; rank < schedule_.ranks.size(); ++rank) {
      fmt::print("  stage {}: at most {} microbatches in flight; {:.2f} GiB, of which passes keep {:.2f}\n",
                 rank, simulation_.peak_in_flight[rank],
                 (weight_bytes(rank) + simulation_.peak_bytes[rank]) / kGiB,
                 simulation_.peak_bytes[rank] / kGiB);
    }
    if (options_.colocated.has_value()) {
      const trainer::ColocatedOptions& writing = *options_.colocated;
      fmt::print("in the gaps, the same ranks write responses: {} groups of {} requests, keys and values of up to "
                 "{:.2f} GiB a rank\n",
                 writing.groups, writing.decoding.batch_size,
                 static_cast<double>(writing.decoding.cache_mib) / 1024);
    } else if (options_.writing_ranks > 0) {
      fmt::print("{} further ranks write responses, each with a whole LLM\n", options_.writing_ranks);
    }
    if (knows_seconds()) {
      std::int64_t samples = 0;
      for (const auto& trial : trials_) {
        samples += trial.batch.global_size;
      }
      fmt::print("a step takes {:.4g} s: {:.4g} samples/s\n", simulation_.step_time,
                 static_cast<double>(samples) / simulation_.step_time);
    }
  }

  [[nodiscard]] trainer::MeasuredStep read_steps(const std::filesystem::path& run) const {
    return trainer::read_measured_step(run, schedule_);
  }

  // How the run's steps went; how they go when its own passes are played; how they were predicted.
  void compare(const trainer::MeasuredStep& measured) const {
    const auto played = trainer::simulate(schedule_, measured.costs, measured.finish);
    const auto line = [&](const std::string& name, double seconds, double bubble,
                          const std::vector<double>& busy) {
      fmt::print("{:<34} {:>9.4f} s {:>6.1f} %  ", name, seconds, 100 * bubble);
      for (const double time : busy) {
        fmt::print(" {:>5.1f} %", 100 * (1 - time / seconds));
      }
      fmt::print("\n");
    };
    fmt::print("{:<34} {:>11} {:>8}   idle by rank\n", "", "step", "idle");
    line(fmt::format("run, median of {} steps", measured.steps), measured.seconds,
         measured.bubble(), measured.busy);
    line("simulated from its passes", played.step_time, played.bubble(), played.busy);
    if (knows_seconds()) {
      line("predicted from costs of layers", simulation_.step_time, simulation_.bubble(),
           simulation_.busy);
    }
  }

  // The timeline is the measured step's, where there is one.
  void write(const PlanFiles& files, const std::optional<trainer::MeasuredStep>& measured) const {
    if (!files.schedule.empty()) {
      runtime::write_file_atomically(files.schedule, trainer::to_csv(schedule_));
    }
    if (!files.timeline.empty()) {
      const bool picture = std::filesystem::path(files.timeline).extension() == ".svg";
      const trainer::Simulation& step = measured.has_value() ? trainer::as_played(*measured) : simulation_;
      const std::string& schedule = options_.pipeline.schedule;
      runtime::write_file_atomically(
          files.timeline,
          picture ? trainer::to_svg(step, measured.has_value() ? schedule + ", a step of the run" : schedule,
                                    measured.has_value() || knows_seconds() ? "s" : "s at 1 TFLOP/s")
                  : trainer::to_chrome_trace(step));
    }
  }

 private:
  [[nodiscard]] std::int64_t ranks() const { return options_.pipeline.stages * options_.replicas; }
  [[nodiscard]] bool knows_seconds() const {
    return cluster_.has_value() || options_.pipeline.measured.has_value();
  }

  // The same trials within the cluster's memory. Throws ConfigError when it has too few ranks.
  [[nodiscard]] static trainer::TrialSet on_cluster(const trainer::TrialSet& trials,
                                                    const Cluster& cluster) {
    const trainer::TrainingOptions& common = trials.common();
    const std::int64_t ranks = common.pipeline.stages * common.replicas;
    if (ranks > cluster.ranks()) {
      throw runtime::ConfigError("{} has {} ranks, but pipeline.stages {} x data_parallel.replicas {} = {}",
                                 cluster.name, cluster.ranks(), common.pipeline.stages, common.replicas,
                                 ranks);
    }
    std::vector<trainer::TrainingOptions> options(trials.begin(), trials.end());
    for (auto& trial : options) {
      if (trial.pipeline.memory_gib == 0) {
        trial.pipeline.memory_gib = cluster.memory_gib;
      }
    }
    return trainer::TrialSet(std::move(options));
  }

  void print(const trainer::StagePart& part) const {
    const trainer::PipelineOptions& pipeline = options_.pipeline;
    const auto samples = static_cast<double>(options_.batch.micro_size);
    const std::string name =
        pipeline.chunks == 1 ? fmt::format("{}", part.stage)
                             : fmt::format("{}, chunk {}", part.stage % pipeline.stages,
                                           part.stage / pipeline.stages);
    fmt::print("  stage {}: {}; {:.1f} MB frozen, {:.2f} GFLOP a sample{}\n", name, part.describe(),
               static_cast<double>(part.parameters * shapes_.element_bytes) / 1e6, part.work / 1e9,
               knows_seconds() ? fmt::format("; a microbatch {:.4g} ms forward, {:.4g} ms backward",
                                             1e3 * scale() * samples * part.cost.forward,
                                             1e3 * scale() * samples * part.cost.backward)
                               : "");
  }

  // What a counted second is on the cluster.
  [[nodiscard]] double scale() const {
    return cluster_.has_value() && !options_.pipeline.measured.has_value()
               ? trainer::kCountedSpeed / (cluster_->tflops * 1e12 * cluster_->efficiency)
               : 1;
  }

  [[nodiscard]] double weight_bytes(std::size_t rank) const {
    double bytes = 0;
    for (auto stage = rank; stage < parts_.size(); stage += schedule_.ranks.size()) {
      bytes += trainer::memory_of(parts_[stage].parameters, parts_[stage].learned, 0, 0,
                                  shapes_.element_bytes) +
               parts_[stage].made_again * static_cast<double>(options_.batch.micro_size);
    }
    return bytes;
  }

  [[nodiscard]] std::vector<trainer::StageCost> costs() const {
    const auto samples = static_cast<double>(options_.batch.micro_size);
    std::vector<trainer::StageCost> costs;
    for (const auto& part : parts_) {
      const auto message = [&](std::int64_t stage) {
        const trainer::StagePart& sender = parts_[static_cast<std::size_t>(stage)];
        const std::int64_t ranks = options_.pipeline.stages;
        const std::int64_t from = stage % ranks;
        const std::int64_t to = (stage + 1) % ranks;
        return cluster_.has_value() && from != to
                   ? cluster_->message_seconds(samples * trainer::boundary_bytes(shapes_, sender),
                                               cluster_->on_one_node(from, to))
                   : 0;
      };
      // Stages in front of what learns run for each stream, the others for each trial.
      const double passes = part.has_backward() ? 1
                                                : static_cast<double>(trials_.size()) /
                                                      static_cast<double>(trials_.streams());
      costs.push_back({.forward = passes * scale() * samples * part.cost.forward,
                       .backward = scale() * samples * part.cost.backward,
                       .send_forward = part.head ? 0 : message(part.stage),
                       .send_backward = part.backward_before ? message(part.stage - 1) : 0,
                       .kept_bytes = samples * part.cost.kept_bytes});
    }
    return costs;
  }

  // A ring over the replicas: each sends and receives 2 (n - 1) / n of the gradients.
  [[nodiscard]] double reduction_seconds() const {
    if (!cluster_.has_value() || options_.replicas == 1) {
      return 0;
    }
    double learned = 0;
    for (const auto& part : parts_) {
      learned = std::max(learned, static_cast<double>(part.learned));
    }
    const auto replicas = static_cast<double>(options_.replicas);
    const double bytes = learned * (options_.reduction.wire == "bfloat16" ? 2 : 4);
    const double rounds = 2 * (replicas - 1);
    return rounds * cluster_->message_seconds(bytes / replicas, ranks() <= cluster_->ranks_per_node);
  }

  std::optional<Cluster> cluster_;
  trainer::TrialSet trials_;
  const trainer::TrainingOptions& options_;  // in common
  trainer::ModelShapes shapes_;
  std::vector<trainer::StagePart> parts_;
  trainer::Schedule schedule_;
  trainer::Simulation simulation_;
};

}  // namespace

void print_training_plan(const trainer::TrialSet& trials, const PlanFiles& files) {
  const Plan plan(trials, files.cluster.empty() ? std::nullopt
                                                 : std::optional(load_cluster(files.cluster)));
  plan.print();
  std::optional<trainer::MeasuredStep> measured;
  if (!files.compare.empty()) {
    measured = plan.read_steps(files.compare);
    plan.compare(*measured);
  }
  plan.write(files, measured);
}

}  // namespace desta::launch
