// Executes a rank's table: receives, runs, sends, reduces and steps as the table says, over
// communicators that tensors cross directly. The table may be of several trials (trial_schedule.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/collectives/communicator.h"
#include "runtime/telemetry/trace.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/pipeline_generator.h"
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

// What one rank of a pipeline has to say of one step of one trial.
struct TrialReport {
  double loss = 0;              // this replica's share of the mean token loss; last stage only
  std::int64_t tokens = 0;      // response tokens behind it
  std::int64_t right_tokens = 0;
  double gradient_norm = 0;     // where something learns
  double learning_rate = 0;
  bool skipped = false;
  std::vector<SaveOutcome> saves;  // checkpoints that were finished since the last report
  template <class Archive>
  void serialize(Archive& archive) {
    archive(loss, tokens, right_tokens, gradient_norm, learning_rate, skipped, saves);
  }

  // And what another stage or another replica has to say of the same step.
  void add(const TrialReport& other);
};

// And of the step as a whole.
struct StageReport {
  std::vector<TrialReport> trials;  // of the job, in its order
  std::vector<WrittenText> written; // where texts are generated beside, on the leader
  std::int64_t written_tokens = 0;  // of these
  double generating_seconds = 0;    // of the step, besides busy_seconds
  bool stop_is_due = false;     // this process was asked to stop (runtime/core/stop_request.h)
  double busy_seconds = 0;      // in forward and backward passes and the optimiser
  double seconds = 0;
  double exposed_seconds = 0;   // of waiting for the other replicas' gradients with nothing to do
  template <class Archive>
  void serialize(Archive& archive) {
    archive(trials, written, written_tokens, generating_seconds, stop_is_due, busy_seconds, seconds,
            exposed_seconds);
  }
};

// What a trial of the job is on this rank. `trial` is null where nothing learns; `validation` holds
// nothing where there are no such rows.
struct TrialWork {
  Trial* trial = nullptr;
  const BatchLoader* training = nullptr;
  const std::optional<BatchLoader>* validation = nullptr;
};

// Rows of a trial's microbatches on this replica and where they stand in its global batch. No rows: it has
// no part in the step.
struct TrialPlan {
  std::vector<std::vector<std::size_t>> rows = {};
  std::int64_t first_microbatch = 0;
  double loss_scale = 1;  // one over the response tokens of the global batch
  // Rows of the next step's microbatches: of those that a table counts on behind this step's, and to look ahead
  // to. Empty: there is none.
  std::vector<std::vector<std::size_t>> next_rows = {};
  // The first trial with the same rows in this step (TrialShare::stream), and how many have them.
  std::size_t stream = 0;
  std::int64_t heard_by = 1;
};

struct StepPlan {
  std::vector<TrialPlan> trials = {};  // of the job, in its order
  bool learn = true;
  bool updates = true;  // the learning ranks' tables have the optimiser's steps
};

class Executor {
 public:
  // `stages`: this rank's, in order. `trials`: of the job. All that they point to must outlive the executor.
  // `device`: where the stages compute; what crosses to another rank goes through host memory.
  // `fills`: the first rank, while it has nothing else to do (it waits for a message, for gradients to cross,
  // or for the others to end the step), runs the frozen encoder for microbatches whose turn has not come, of
  // this step and then of the next. It does so in slices (FrozenFront::advance), so that what it waits for
  // is taken up one slice late at most. Nothing else changes: no bit of the result does. What is ahead stays
  // in memory until its turn: hidden states and taps of the microbatches of two steps at most.
  Executor(std::vector<Stage>& stages, std::vector<TrialWork> trials, Links& links,
           runtime::Trace& trace, at::Device device, bool fills);

  // Takes the prompts' beginning through the LLM's stages, once, where it is shared. All ranks of the
  // pipeline, before the first run(). Throws as run() does.
  void share_prefix();

  // What the table receives of the next step's microbatches is kept for the next run.
  // Throws TransportError naming the peer when a neighbour is gone or silent for too long.
  StageReport run(const RankTable& table, const StepPlan& plan);
  // From now on, gaps of training steps in which the encoder has nothing to do are used for text generation: a
  // piece of it is taken up where it is expected to end before the gap does. What is expected is learned from
  // the steps before, for each gap by itself: the shortest lately. So the training waits for a part of one piece
  // at most where a gap is shorter than it was, and for nothing else. All ranks of the pipeline, or none.
  void generate_with(PipelineGenerator* generator) { generator_ = generator; }

  // Forgets what was received for a next step.
  void forget_next() { inputs_.clear(); }

 private:
  // One pass's place in a step.
  struct Pass {
    std::int64_t stage = 0;
    std::int64_t trial = 0;
    std::int64_t microbatch = 0;
    friend auto operator<=>(const Pass&, const Pass&) = default;
  };

  [[nodiscard]] Stage& stage_at(std::int64_t number);
  // A number for a trial's microbatch that no other of the step has.
  [[nodiscard]] std::int64_t key_of(std::int64_t trial, std::int64_t microbatch) const {
    return microbatch * static_cast<std::int64_t>(trials_.size()) + trial;
  }
  [[nodiscard]] int tag_of(const Pass& from, int direction) const;
  // From a stage to the one behind (direction 1) or before (-1); `from`: the pass that sends.
  void send(const Activations& tensors, const Pass& from, int direction);
  Activations receive(const Pass& from, int direction);
  Activations forward(const Pass& pass, const Activations& received, const StepPlan& plan,
                      StageReport& report);
  void finish_sends();
  // Lines up what can be filled with, in the order of its turns.
  void look_ahead(const StepPlan& plan);
  // Does a slice of the coming microbatches' way through the frozen encoder. False: there is none.
  bool fill();
  // Takes a piece of text generation that takes no longer than that [s]. False: there is none.
  bool generate(double seconds);
  // Does what can be done until done(), or until nothing can. `gap`: by what it is known from step to step.
  template <typename Done>
  void use_gap(int gap, const Done& done);
  // Waits, and meanwhile does what can be done.
  void wait(runtime::Work& work, int gap);
  // Lets the gradients cross, and meanwhile does what can be done.
  void reduce(GradientReducer* reducer, StageReport& report);
  // The learning ranks' first tells those that have something to do until then that the step is over.
  void end_step(const StepPlan& plan);
  // What was received for the next step's microbatches gets their numbers in it.
  void keep_next(const StepPlan& plan);
  // Of the gradients of all stages on which a trial learns; they exchange their own.
  [[nodiscard]] double whole_norm(double own);

  std::vector<Stage>& stages_;
  std::vector<TrialWork> trials_;
  Links& links_;
  runtime::Trace& trace_;
  at::Device device_;
  bool fills_;
  // The microbatches to fill with: whose rows, and which.
  std::deque<std::pair<const BatchLoader*, std::vector<std::size_t>>> coming_;
  double filled_seconds_ = 0;                    // of this step
  PipelineGenerator* generator_ = nullptr;
  bool gaps_are_known_ = false;                  // this step's gaps are those of other steps
  std::map<int, double> gaps_;                   // how long they are expected to be [s]
  struct Pending {
    Tensor buffer;
    std::unique_ptr<runtime::Work> work;
  };
  std::vector<Pending> pending_;
  std::map<Pass, Activations> inputs_;       // of passes to come
  std::map<int, Activations> own_messages_;  // from one stage of this rank to another, by tag
};

}  // namespace desta::trainer
