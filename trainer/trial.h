// One adapter being trained: its parameters, optimiser state, position in the data and random state,
// under one id. A value that a stage works on, so that several may share one frozen pipeline.
#pragma once

#include <cstdint>
#include <filesystem>

#include "models/qformer.h"
#include "runtime/collectives/communicator.h"
#include "trainer/flat_parameters.h"
#include "trainer/options.h"
#include "trainer/optimizer.h"

namespace desta::trainer {

class Trial {
 public:
  // Draws the adapter's initial parameters from `seed`.
  Trial(std::int64_t id, const models::QFormerConfig& config, const OptimizerOptions& optimizer,
        std::uint64_t seed, std::int64_t total_steps, at::ScalarType precision,
        at::Device device = at::kCPU);

  [[nodiscard]] std::int64_t id() const { return id_; }
  // Steps finished, skipped ones included: the position in the data.
  [[nodiscard]] std::int64_t step() const { return step_; }
  [[nodiscard]] FlatParameters& parameters() { return parameters_; }
  [[nodiscard]] const FlatParameters& parameters() const { return parameters_; }

  // Speech vectors [batch, queries, d_llm] of one microbatch; its dropout depends on the trial's
  // seed, the step and the microbatch's number in the global batch alone.
  [[nodiscard]] Tensor forward(const std::vector<Tensor>& tapped, std::int64_t microbatch) const;
  // Without dropout.
  [[nodiscard]] Tensor infer(const std::vector<Tensor>& tapped) const;

  // Sums the gradients over the ranks of `replicas`: the only bytes that cross between replicas. A
  // communicator over host memory gets a copy when they are on a GPU.
  void reduce(runtime::Communicator& replicas);

  struct StepResult {
    double gradient_norm = 0;
    double learning_rate = 0;
    bool skipped = false;  // the gradient was not finite; nothing changed but the position
  };
  // Updates the parameters, clears the gradients and moves on by one step.
  StepResult finish_step();

  // Writes adapter.safetensors, optimizer.safetensors and state.json into `folder`.
  void save(const std::filesystem::path& folder);
  // Throws ModelError naming the file for whatever is missing, damaged or of another shape.
  void load(const std::filesystem::path& folder);

 private:
  std::int64_t id_;
  std::uint64_t seed_;
  std::int64_t total_steps_;
  OptimizerOptions options_;
  FlatParameters parameters_;
  models::QFormer adapter_;
  AdamW optimizer_;
  std::int64_t step_ = 0;
};

}  // namespace desta::trainer
