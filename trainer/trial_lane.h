// One trial on one rank: its data, what it learns here, its checkpoints. All that a rank has of a trial
// but the frozen models, which all trials share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/tokenizer.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/executor.h"
#include "trainer/training_layout.h"

namespace desta::trainer {

// What a rank holds of a trial.
struct TrialInfo {
  std::uint64_t adapter_bytes = 0;   // parameters, gradients and optimiser state
  std::int64_t total_steps = 0;
  std::int64_t start_step = 0;       // adapter's stage: where the newest checkpoint stands
  std::int64_t skipped_in_a_row = 0; // adapter's stage: steps before it that were not finite
  std::uint64_t adapter_checksum = 0;  // adapter's stage: of its parameters then
  std::string schedule_change;         // "was ..., is ...", when the checkpoint had another schedule
  std::string left_out;              // rows that the filters keep from training, in words; empty: none
  std::string checkpoint;            // the checkpoint that was loaded
  std::vector<std::string> problems; // checkpoints that were passed over
  template <class Archive>
  void serialize(Archive& archive) {
    archive(adapter_bytes, total_steps, start_step, skipped_in_a_row, adapter_checksum,
            schedule_change, left_out, checkpoint, problems);
  }
};

class TrialLane {
 public:
  // Opens its data. `own` and `parts`: the stages of this rank, and all. Where something learns, draws it or
  // takes it from the newest whole checkpoint of the run; `links` carry its gradients and must outlive it.
  // With `stream`, the training rows are fed step by step, and the validation rows need not be there before
  // they are asked for. Collective over the replicas. Throws ConfigError, DataError and ModelError as what it opens does.
  TrialLane(const TrainingOptions& options, RankPlace place, Links& links,
            const models::Tokenizer& tokenizer, const std::vector<StagePart>& own,
            const std::vector<StagePart>& parts, at::Device device,
            const std::optional<StreamInfo>& stream = std::nullopt);

  [[nodiscard]] TrialInfo info() const;
  // What the executor works on; valid while the lane stays where it is.
  [[nodiscard]] TrialWork work();
  // Where the rows of coming steps go, with a stream.
  [[nodiscard]] RowFeed& feed() { return *feed_; }
  [[nodiscard]] Trial* trial() { return trial_ ? &*trial_ : nullptr; }

  // Its part of a step: rows of this replica's microbatches.
  [[nodiscard]] TrialPlan training_plan(std::int64_t step) const;
  // Validation rows of this replica, which shares them with the others.
  [[nodiscard]] TrialPlan validation_plan();

  // Starts to write a checkpoint: the stages of replica 0 on which something learns copy what they
  // have, the adapter's stage writes it beside the training. Every stage of a replica calls it at once.
  void save();
  // Waits for the save under way, if there is one.
  void finish_saving();
  // How saves have ended since the last call.
  [[nodiscard]] std::vector<SaveOutcome> take_outcomes();

 private:
  void open_validation();
  void start_trial(const std::vector<StagePart>& own, const models::TensorMap& others,
                   at::Device device);

  TrainingOptions options_;
  RankPlace place_;
  Links& links_;
  ModelShapes shapes_;
  std::int64_t adapter_rank_;  // of the pipeline
  bool ends_;                  // the loss is made here
  const models::Tokenizer& tokenizer_;
  std::optional<StreamInfo> stream_;
  std::optional<RowFeed> feed_;
  BatchLoader training_;
  std::optional<BatchLoader> validation_;
  std::int64_t total_steps_;
  std::optional<Trial> trial_;
  std::optional<CheckpointWriter> writer_;  // on the adapter's stage of replica 0
  TrialState sent_;                         // where else something learns: what goes to the writer
  std::string checkpoint_;
  std::vector<std::string> problems_;
};

}  // namespace desta::trainer
