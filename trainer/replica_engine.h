// Everything one rank needs to train: its stages, its trial where the adapter is, its data and its
// wires, behind a few calls. The stage actor owns one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/tokenizer.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/feature_cache.h"
#include "trainer/executor.h"
#include "trainer/frozen_checksums.h"
#include "trainer/options.h"

namespace desta::trainer {

// The shapes of the models that the options name. Reads configuration files only.
[[nodiscard]] ModelShapes read_shapes(const TrainingOptions& options);

// What the options come to for what learns.
[[nodiscard]] TrainingOptions settled(TrainingOptions options);

// The models cut into pipeline.parts() stages. Throws ConfigError as partition() does.
[[nodiscard]] std::vector<StagePart> cut_models(const TrainingOptions& options);

// Throws ConfigError when sizes do not fit: batch, microbatch, replicas and ranks. `start` is what to
// type in front of the right number of ranks.
void check_layout(const TrainingOptions& options, int ranks,
                  const std::string& start = "mpirun -n ");

// Where a rank stands: ranks of one replica are neighbours, rank = replica * stages + stage. With several
// chunks a rank, `stage` is its first, and the others follow `stages` apart.
struct RankPlace {
  std::int64_t replica = 0;
  std::int64_t stage = 0;
  [[nodiscard]] static RankPlace of(int rank, std::int64_t stages) {
    return {rank / stages, rank % stages};
  }
};

// The table of a training step. Throws ConfigError as make_schedule() does.
[[nodiscard]] Schedule schedule_of(const TrainingOptions& options,
                                   const std::vector<StagePart>& parts);

// Splits the world into this rank's pipeline and this stage's replicas. `gpu_world`: a communicator
// over GPU memory for the replicas, where there is one. Collective.
[[nodiscard]] Links make_links(runtime::Communicator& world, const TrainingOptions& options,
                               runtime::Communicator* gpu_world = nullptr);

struct StageInfo {
  std::string part;
  std::string device;                // "cpu", "cuda:2"
  std::uint64_t frozen_tensors = 0;
  std::uint64_t frozen_bytes = 0;    // the shard
  std::uint64_t adapter_bytes = 0;   // parameters, gradients and optimiser state
  std::uint64_t resident_bytes = 0;  // of the process after loading
  std::int64_t steps_per_epoch = 0;
  std::int64_t start_step = 0;       // adapter's stage: where the newest checkpoint stands
  std::int64_t skipped_in_a_row = 0; // adapter's stage: steps before it that were not finite
  std::uint64_t adapter_checksum = 0;  // adapter's stage: of its parameters then
  std::string schedule_change;         // "was ..., is ...", when the checkpoint had another schedule
  std::string checkpoint;            // the checkpoint that was loaded
  std::vector<std::string> problems; // checkpoints that were passed over
  template <class Archive>
  void serialize(Archive& archive) {
    archive(part, device, frozen_tensors, frozen_bytes, adapter_bytes, resident_bytes, steps_per_epoch,
            start_step, skipped_in_a_row, adapter_checksum, schedule_change, checkpoint, problems);
  }
};

struct FrozenReport {
  std::uint64_t tensors = 0;
  std::vector<std::string> changed;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(tensors, changed);
  }
};

// What has gone to other replicas.
struct ReplicaTraffic {
  std::uint64_t bytes_sent = 0;
  std::string algorithms;  // of the all-reduce, by size; empty with one replica
  template <class Archive>
  void serialize(Archive& archive) {
    archive(bytes_sent, algorithms);
  }
};

class ReplicaEngine {
 public:
  // Loads this rank's shard, and the newest whole checkpoint of the run where the adapter is.
  ReplicaEngine(const TrainingOptions& options, RankPlace place, Links& links);

  [[nodiscard]] StageInfo info() const;
  [[nodiscard]] std::int64_t total_steps() const { return total_steps_; }

  // One optimiser step, this stage's part.
  StageReport train_step(std::int64_t step);
  // Mean loss over the validation rows, this stage's part. Replicas share the microbatches.
  StageReport validate();
  // Starts to write a checkpoint: the stages of replica 0 on which something learns copy what they
  // have, the adapter's stage writes it beside the training; how that ends stands in a later step's
  // report. With `wait`, the end of it is returned. Every stage of a replica calls it at once.
  std::vector<SaveOutcome> save(bool wait);
  // Waits for the save under way, if there is one, and says how it ended.
  std::vector<SaveOutcome> finish_saving();
  [[nodiscard]] FrozenReport verify_frozen() const;
  [[nodiscard]] ReplicaTraffic replica_traffic() const;
  void write_trace(const std::filesystem::path& path) const;

  // For tests: the adapter's flat gradient of a step, before the optimiser; adapter's stage only.
  [[nodiscard]] Trial* trial() { return trial_ ? &*trial_ : nullptr; }
  StageReport accumulate_gradient(std::int64_t step);

 private:
  // Draws what learns on this rank, or takes it from the newest whole checkpoint of the run.
  void start_trial();
  // The stages of this rank.
  [[nodiscard]] std::vector<StagePart> own_parts() const;
  [[nodiscard]] StepPlan training_plan(std::int64_t step) const;

  TrainingOptions options_;
  RankPlace place_;
  Links& links_;
  ModelShapes shapes_;
  std::vector<StagePart> parts_;
  RankTable table_;  // of a training step
  at::Device device_;
  models::ModelFolder speech_;
  models::ModelFolder llm_;
  models::Tokenizer tokenizer_;
  BatchLoader training_;
  std::optional<BatchLoader> validation_;
  std::int64_t total_steps_;
  std::vector<Stage> stages_;
  std::optional<Trial> trial_;
  std::optional<FeatureCache> features_;
  std::optional<CheckpointWriter> writer_;  // on the adapter's stage of replica 0
  TrialState sent_;                         // where else something learns: what goes to the writer
  FrozenChecksums frozen_;
  runtime::Trace trace_;
  std::optional<Executor> executor_;
  std::string checkpoint_;
  std::vector<std::string> problems_;
};

}  // namespace desta::trainer
