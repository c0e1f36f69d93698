// One adapter being trained: its parameters, optimiser state, position in the data and random state,
// under one id. A value that a stage works on, so that several may share one frozen pipeline.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/qformer.h"
#include "runtime/collectives/communicator.h"
#include "trainer/flat_parameters.h"
#include "trainer/gradient_reducer.h"
#include "trainer/optimizer.h"
#include "trainer/replica_check.h"

namespace desta::trainer {

// All that a trial is at one moment, in host memory: what a checkpoint is written from. One for each
// stage on which something learns.
struct TrialState {
  std::int64_t trial = 0;
  std::int64_t step = 0;     // steps finished: the position in the data and in every random stream
  std::int64_t updates = 0;  // of the optimiser
  std::int64_t skipped_in_a_row = 0;
  std::uint64_t seed = 0;
  std::string schedule = {};  // optimiser and learning rates in words: Trial::schedule()
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> layout = {};  // names and shapes
  // Parameters and AdamW's moments, [count] float32.
  Tensor values = {};
  Tensor first = {};
  Tensor second = {};
  // What the gradients' wire format has left out so far (GradientWire::state()).
  TensorMap reduction = {};

  // `flat` in named pieces (views).
  [[nodiscard]] TensorMap named(const Tensor& flat) const;
};

class Trial {
 public:
  // What learns on this rank: the adapter, whose initial parameters are drawn from `seed`, where
  // `adapter` is given; and `others` (learned.h), by name.
  Trial(std::int64_t id, const std::optional<models::QFormerConfig>& adapter,
        const OptimizerOptions& optimizer, std::uint64_t seed, std::int64_t total_steps,
        at::ScalarType precision, at::Device device = at::kCPU, const TensorMap& others = {});

  [[nodiscard]] std::int64_t id() const { return id_; }
  // Steps finished, skipped ones included: the position in the data.
  [[nodiscard]] std::int64_t step() const { return step_; }
  // Of the last steps, how many in a row had no finite gradient.
  [[nodiscard]] std::int64_t skipped_in_a_row() const { return skipped_in_a_row_; }
  // Optimiser, learning rates and number of steps in words. A run may go on with others, but should
  // know: schedule_before() is what the checkpoint was written with, empty without one.
  [[nodiscard]] std::string schedule() const;
  [[nodiscard]] const std::string& schedule_before() const { return schedule_before_; }
  [[nodiscard]] FlatParameters& parameters() { return parameters_; }
  [[nodiscard]] const FlatParameters& parameters() const { return parameters_; }

  // Speech vectors [batch, queries, d_llm] of one microbatch; its dropout depends on the trial's
  // seed, the step and the microbatch's number in the global batch alone.
  [[nodiscard]] Tensor forward(const std::vector<Tensor>& tapped, std::int64_t microbatch) const;
  // Without dropout.
  [[nodiscard]] Tensor infer(const std::vector<Tensor>& tapped) const;

  // Has the gradients cross to the other copies of this trial, one on each rank of `replicas`: the only
  // bytes that cross between replicas. Before the first step. `replicas` must outlive the trial.
  // Collective.
  void join_replicas(runtime::Communicator& replicas, const ReductionOptions& options);
  // Null when there is only this copy.
  [[nodiscard]] GradientReducer* reducer() { return reducer_.get(); }

  // Of this rank's gradients.
  [[nodiscard]] double gradient_norm();

  struct StepResult {
    double gradient_norm = 0;
    double learning_rate = 0;
    bool skipped = false;  // the gradient was not finite; nothing changed but the position
  };
  // Updates the parameters, clears the gradients and moves on by one step. `norm`: of the gradients of
  // all ranks on which this trial learns. Throws InternalError naming a replica whose parameters are
  // no longer the others'.
  StepResult finish_step(double norm);
  StepResult finish_step() { return finish_step(gradient_norm()); }

  // Copies all state into `state`, whose memory is used again when it fits.
  void copy_to(TrialState& state) const;
  // Makes the state of all copies the same (GradientWire::even_out()). Collective over the replicas.
  void even_out();
  // Takes parameters, moments and position from a checkpoint's content. All is checked before
  // anything changes. Throws ModelError naming the tensor that is missing or of another shape.
  void restore(const TrialState& position, const TensorMap& values, const TensorMap& first,
               const TensorMap& second);
  // Takes parameters alone: a start from what another run has learned. A name that `values` lacks
  // keeps its initial value if it is not the adapter's. Returns
  // those of `values` that nothing here has a use for.
  std::vector<std::string> start_from(const TensorMap& values);

 private:
  std::int64_t id_;
  std::uint64_t seed_;
  std::int64_t total_steps_;
  OptimizerOptions options_;
  FlatParameters parameters_;
  std::optional<models::QFormer> adapter_;
  AdamW optimizer_;
  runtime::Communicator* replicas_ = nullptr;
  std::unique_ptr<GradientReducer> reducer_;
  ReplicaCheck check_;
  std::int64_t step_ = 0;
  std::int64_t skipped_in_a_row_ = 0;
  std::string schedule_before_;
};

}  // namespace desta::trainer
