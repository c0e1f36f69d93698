// Executes a rank's table: receives, runs, sends, reduces and steps as the table says, over
// communicators that tensors cross directly.
#pragma once

#include <cstdint>
#include <deque>
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
  bool updates = true;  // the learning ranks' tables end with the optimiser's step
  // Rows of the next step's microbatches. Empty: nothing to look ahead to.
  std::vector<std::vector<std::size_t>> next_rows = {};
};

class Executor {
 public:
  // `stages`: this rank's, in order. `trial` is null where nothing learns. All must outlive the executor.
  // `device`: where the stages compute; what crosses to another rank goes through host memory.
  // `fills`: the first rank, while it has nothing else to do (it waits for a message, for gradients to cross,
  // or for the others to end the step), runs the frozen encoder for microbatches whose turn has not come, of
  // this step and then of the next. It does so in slices (FrozenFront::advance), so that what it waits for
  // is taken up one slice late at most. Nothing else changes: no bit of the result does. What is ahead stays
  // in memory until its turn: hidden states and taps of the microbatches of two steps at most.
  Executor(std::vector<Stage>& stages, Trial* trial, Links& links, const BatchLoader& training,
           const BatchLoader* validation, runtime::Trace& trace, at::Device device, bool fills);

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
  // Does a slice of the coming microbatches' way through the frozen encoder. False: there is none.
  bool fill();
  // Waits, and meanwhile fills.
  void wait(runtime::Work& work);
  // Lets the gradients cross, and meanwhile fills.
  void reduce(StageReport& report);
  // The learning ranks' first tells the first rank, which does not learn, that the step is over.
  void end_step(const StepPlan& plan);
  // Of the gradients of all stages on which the trial learns; they exchange their own.
  [[nodiscard]] double whole_norm(double own);

  std::vector<Stage>& stages_;
  Trial* trial_;
  Links& links_;
  const BatchLoader& training_;
  const BatchLoader* validation_;
  runtime::Trace& trace_;
  at::Device device_;
  bool fills_;
  std::deque<std::vector<std::size_t>> coming_;  // rows of the microbatches to fill with
  double filled_seconds_ = 0;                    // of this step
  struct Pending {
    Tensor buffer;
    std::unique_ptr<runtime::Work> work;
  };
  std::vector<Pending> pending_;
  std::map<int, Activations> own_messages_;  // from one stage of this rank to another, by tag
};

}  // namespace desta::trainer
