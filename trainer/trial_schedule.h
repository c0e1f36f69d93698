// One table for the microbatches of several trials, which fill one another's bubbles.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "trainer/schedule.h"

namespace desta::trainer {

// What a trial brings to a step.
struct TrialShare {
  std::int64_t trial = 0;
  std::int64_t microbatches = 1;
  std::int64_t stream = 0;  // the first trial of the step that has the same rows; itself if none before has
  friend bool operator==(const TrialShare&, const TrialShare&) = default;
};

// The schedule of this name (make_schedule) for all their microbatches, in turn: the first of each trial, then
// the second of each. `shape.microbatches` is not looked at. A trial reduces and steps behind its last
// backward pass. Rows that several trials have go through the stages before the first that learns once, with
// the trial named by `stream`; what arrives there is for all of them. One trial's table is make_schedule's.
// Throws ConfigError as make_schedule() does.
[[nodiscard]] Schedule schedule_trials(const std::string& name, ScheduleShape shape,
                                       std::span<const TrialShare> shares);

}  // namespace desta::trainer
