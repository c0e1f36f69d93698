// A schedule is data: one table of actions per stage, made by a pure function, checked and timed
// without any rank, executed by the stages as it stands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace desta::trainer {

enum class Op : std::uint8_t {
  kReceiveForward,   // activations from the stage before
  kForward,
  kSendForward,      // activations to the stage behind
  kReceiveBackward,  // gradient from the stage behind
  kBackward,
  kSendBackward,     // gradient to the stage before
  kReduce,           // the adapter's gradients, over replicas
  kStep,             // the optimiser
};
[[nodiscard]] std::string_view name_of(Op op);

struct Action {
  Op op;
  std::int64_t microbatch = 0;
  std::int64_t trial = 0;
  friend bool operator==(const Action&, const Action&) = default;
};

using StageTable = std::vector<Action>;

struct Schedule {
  std::vector<StageTable> stages;
  [[nodiscard]] std::string to_text() const;  // one line an action: "stage 0: forward 3"
};

struct ScheduleShape {
  std::int64_t stages = 1;
  std::int64_t microbatches = 1;
  std::int64_t first_backward = 0;            // stages before it have no backward pass
  std::vector<std::int64_t> learning = {};    // stages that reduce and step; empty: that one
  std::int64_t trial = 0;
};

// "gpipe" (all forwards, then all backwards; Huang et al. 2019) or "1f1b" (one forward, one backward;
// Narayanan et al. 2019), over the stages from the first that learns on; frozen stages before it
// only feed them. Ends with reduce and step on the stages that learn. Throws ConfigError for another name.
[[nodiscard]] Schedule training_schedule(std::string_view kind, const ScheduleShape& shape);

// Forward passes only: for the loss on held-out rows.
[[nodiscard]] Schedule evaluation_schedule(const ScheduleShape& shape);

// Seconds (or any unit) that a stage's actions take.
struct StageCost {
  double forward = 1;
  double backward = 1;
};

struct Simulation {
  double step_time = 0;
  std::vector<double> busy;                  // by stage
  std::vector<std::int64_t> peak_in_flight;  // by stage: forwards whose backward is still to come
  [[nodiscard]] double bubble() const;       // share of stage time without work
};

// Plays the table: a receive waits for its send, sends do not block. Throws InternalError naming
// stage and action when the table can never finish (deadlock, order).
[[nodiscard]] Simulation simulate(const Schedule& schedule, const std::vector<StageCost>& costs);

}  // namespace desta::trainer
