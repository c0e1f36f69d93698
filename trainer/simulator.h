// Plays a schedule with given costs of passes and messages, without any rank: how long a step takes, who idles,
// what must be held, and when each action runs.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/schedule.h"

namespace desta::trainer {

// What one microbatch costs on one stage. Seconds, or any unit that all share.
struct StageCost {
  double forward = 1;
  double backward = 1;
  double send_forward = 0;   // until the activations are at the stage behind
  double send_backward = 0;  // until the gradient is at the stage before
  double kept_bytes = 0;     // from a forward pass to its backward pass
};

// One action as it was played.
struct TimedAction {
  Action action;
  double begin = 0;
  double end = 0;  // of a send: when the message has arrived
};

struct Simulation {
  double step_time = 0;
  std::vector<double> busy;                         // by rank
  std::vector<std::int64_t> peak_in_flight;         // by rank: forwards whose backward is still to come
  std::vector<double> peak_bytes;                   // by rank: what those keep
  std::vector<std::vector<TimedAction>> timeline;   // by rank, in order
  [[nodiscard]] double bubble() const;              // share of the ranks' time without work
};

// `costs`: by stage. A receive waits until its message has arrived; a send does not block, and messages
// do not slow one another down; `finish` is what reduce and step take together. Throws ConfigError naming
// rank and action when the table can never finish.
[[nodiscard]] Simulation simulate(const Schedule& schedule, const std::vector<StageCost>& costs,
                                  double finish = 0);

}  // namespace desta::trainer
