// Executes a rank's table: receives, runs, sends, reduces and steps as the table says, over
// communicators that tensors cross directly.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "runtime/collectives/communicator.h"
#include "runtime/telemetry/trace.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/schedule.h"
#include "trainer/stage.h"

namespace desta::trainer {

// The wires of one rank. Ranks of `pipeline` hold the stages of one replica; ranks of `replicas` hold the
// copies of this rank's stages.
struct Links {
  std::unique_ptr<runtime::Communicator> pipeline;  // over host memory
  std::unique_ptr<runtime::Communicator> replicas;
  std::vector<std::int64_t> learning;               // ranks of it on which the trial learns
};

// What one rank of a pipeline has to say of one step.
struct StageReport {
  double loss = 0;              // this replica's share of the mean token loss; last stage only
  std::int64_t tokens = 0;      // response tokens behind it
  std::int64_t right_tokens = 0;
  double gradient_norm = 0;     // where something learns
  double learning_rate = 0;
  bool skipped = false;
  bool stop_is_due = false;     // this process was asked to stop (runtime/core/stop_request.h)
  std::vector<SaveOutcome> saves;  // checkpoints that were finished since the last report
  double busy_seconds = 0;      // in forward and backward passes and the optimiser
  double seconds = 0;
  double exposed_seconds = 0;   // of waiting for the other replicas' gradients with nothing to do
  template <class Archive>
  void serialize(Archive& archive) {
    archive(loss, tokens, right_tokens, gradient_norm, learning_rate, skipped, stop_is_due, saves,
            busy_seconds, seconds, exposed_seconds);
  }
};

// Rows of the replica's microbatches and where they stand in the global batch.
struct StepPlan {
  std::vector<std::vector<std::size_t>> rows;
  std::int64_t first_microbatch = 0;
  double loss_scale = 1;  // one over the response tokens of the global batch
  bool learn = true;
  // Rows of the next step's microbatches: their way through the frozen encoder may begin while the
  // gradients cross. Empty: nothing to begin.
  std::vector<std::vector<std::size_t>> next_rows = {};
};

class Executor {
 public:
  // `stages`: this rank's, in order. `trial` is null where nothing learns. All must outlive the executor.
  // `device`: where the stages compute; what crosses to another rank goes through host memory.
  Executor(std::vector<Stage>& stages, Trial* trial, Links& links, const BatchLoader& training,
           const BatchLoader* validation, runtime::Trace& trace, at::Device device);

  // Takes the prompts' beginning through the LLM's stages, once, where it is shared. All ranks of the
  // pipeline, before the first run(). Throws as run() does.
  void share_prefix();

  // Throws TransportError naming the peer when a neighbour is gone or silent for too long.
  StageReport run(const RankTable& table, const StepPlan& plan);

 private:
  [[nodiscard]] Stage& stage_at(std::int64_t number);
  // From a stage to the one behind (direction 1) or before (-1); `from`: the stage that sends.
  void send(const Activations& tensors, std::int64_t from, int direction, std::int64_t microbatch);
  Activations receive(std::int64_t from, int direction, std::int64_t microbatch);
  void finish_sends();
  // Lets the gradients cross, and meanwhile looks ahead.
  void reduce(const StepPlan& plan, StageReport& report);
  // Of the gradients of all stages on which the trial learns; they exchange their own.
  [[nodiscard]] double whole_norm(double own);

  std::vector<Stage>& stages_;
  Trial* trial_;
  Links& links_;
  const BatchLoader& training_;
  const BatchLoader* validation_;
  runtime::Trace& trace_;
  at::Device device_;
  struct Pending {
    Tensor buffer;
    std::unique_ptr<runtime::Work> work;
  };
  std::vector<Pending> pending_;
  std::map<int, Activations> own_messages_;  // from one stage of this rank to another, by tag
};

}  // namespace desta::trainer
