// Everything one rank needs to train: its stages, its part of each trial and its wires, behind a few calls.
// The stage actor owns one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/safetensors.h"
#include "models/tokenizer.h"
#include "trainer/executor.h"
#include "trainer/feature_cache.h"
#include "trainer/frozen_checksums.h"
#include "trainer/training_layout.h"
#include "trainer/trial_lane.h"

namespace desta::trainer {

// Splits the world into this rank's pipeline and this stage's replicas. `gpu_world`: a communicator
// over GPU memory for the replicas, where there is one. Collective.
[[nodiscard]] Links make_links(runtime::Communicator& world, const TrialSet& trials,
                               runtime::Communicator* gpu_world = nullptr);

struct StageInfo {
  std::string part;
  std::string device;                // "cpu", "cuda:2"
  std::uint64_t frozen_tensors = 0;
  std::uint64_t frozen_bytes = 0;    // the shard
  std::uint64_t resident_bytes = 0;  // of the process after loading
  std::vector<TrialInfo> trials;     // of the job, in its order
  template <class Archive>
  void serialize(Archive& archive) {
    archive(part, device, frozen_tensors, frozen_bytes, resident_bytes, trials);
  }
};

// A rank at the end of a run: what must not have changed, and what it took.
struct FrozenReport {
  std::uint64_t tensors = 0;
  std::vector<std::string> changed;
  std::uint64_t peak_resident_bytes = 0;  // of the process, ever
  template <class Archive>
  void serialize(Archive& archive) {
    archive(tensors, changed, peak_resident_bytes);
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

// What a rank is handed for coming steps where the dataset is still being written.
struct StepSupply {
  struct Rows {
    std::int64_t step = 0;
    std::vector<datagen::Row> rows;
    template <class Archive>
    void serialize(Archive& archive) {
      archive(step, rows);
    }
  };
  std::vector<Rows> rows;         // besides those that it has been handed already
  std::int64_t oldest = 0;        // step whose rows are still needed
  std::vector<TextOrder> orders;  // texts to write, for the leader
  template <class Archive>
  void serialize(Archive& archive) {
    archive(rows, oldest, orders);
  }
};

// Texts that were written while nothing else was done.
struct WritingReport {
  std::vector<WrittenText> written;
  std::int64_t tokens = 0;
  double seconds = 0;  // of work, of this rank
  template <class Archive>
  void serialize(Archive& archive) {
    archive(written, tokens, seconds);
  }
};

class ReplicaEngine {
 public:
  // Loads this rank's shard, and of each trial the newest whole checkpoint of its run where the adapter is.
  // With `stream`, the only trial's rows are fed (supply()).
  ReplicaEngine(const TrialSet& trials, RankPlace place, Links& links,
                const std::optional<StreamInfo>& stream = std::nullopt);

  [[nodiscard]] StageInfo info() const;

  // One optimiser step of each trial, this stage's part. `steps`: by trial; -1: it has no part in it.
  StageReport train_step(const std::vector<std::int64_t>& steps);
  // Rows of coming steps, and texts to write in the gaps of those (where the options ask for that).
  void supply(StepSupply supply);
  // Writes texts and does nothing else, until the leader has so many more, or all. All stages of a replica call
  // it at once, as the next.
  WritingReport write_texts(std::int64_t texts);
  // Ends the writing: no text is begun or continued, and nothing of it is under way any more.
  void stop_writing();
  // Mean loss over a trial's validation rows, this stage's part. Replicas share the microbatches.
  StageReport validate(std::int64_t trial);
  // Starts to write a trial's checkpoint (TrialLane::save); how that ends stands in a later step's report.
  // With `wait`, the end of it is returned. Every stage of a replica calls it at once.
  std::vector<SaveOutcome> save(std::int64_t trial, bool wait);
  // Waits for the save under way, if there is one, and says how it ended.
  std::vector<SaveOutcome> finish_saving(std::int64_t trial);
  [[nodiscard]] FrozenReport verify_frozen() const;
  [[nodiscard]] ReplicaTraffic replica_traffic() const;
  void write_trace(const std::filesystem::path& path) const;

  // For tests: the flat gradients of a step, before the optimiser, where the trial learns.
  [[nodiscard]] Trial* trial(std::size_t number = 0) { return lanes_[number]->trial(); }
  StageReport accumulate_gradient(const std::vector<std::int64_t>& steps);

 private:
  [[nodiscard]] const TrainingOptions& common() const { return trials_.common(); }
  // The stages of this rank.
  [[nodiscard]] std::vector<StagePart> own_parts() const;
  // Makes table_ that of such a step.
  [[nodiscard]] StepPlan training_plan(std::span<const std::int64_t> steps);
  // The same for a schedule that works ahead.
  void make_ahead_table(std::int64_t step, const TrialPlan& plan);

  TrialSet trials_;
  RankPlace place_;
  Links& links_;
  ModelShapes shapes_;
  std::vector<StagePart> parts_;
  at::Device device_;
  models::ModelFolder speech_;
  models::ModelFolder llm_;
  models::Tokenizer tokenizer_;
  std::vector<std::unique_ptr<TrialLane>> lanes_;  // by trial
  std::vector<TrialShare> shares_;                 // whose table this is
  RankTable table_;
  std::optional<AheadTables> ahead_tables_;        // of a schedule that works ahead
  std::int64_t ahead_for_ = -1;                    // the step whose recordings the adapter's stage has heard
  std::vector<Stage> stages_;
  std::optional<FeatureCache> features_;
  FrozenChecksums frozen_;
  runtime::Trace trace_;
  std::optional<Executor> executor_;
  std::optional<models::Llama> embedding_;  // where texts are written, on the head's rank, if its own is another
  std::optional<PipelineGenerator> generator_;
};

}  // namespace desta::trainer
