// The steps of a real run, from the traces that its ranks have written (run.trace), in the terms of
// simulator.h: so that what was predicted can be compared with what was.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "trainer/schedule.h"
#include "trainer/simulator.h"

namespace desta::trainer {

struct MeasuredStep {
  std::int64_t steps = 0;          // how many; the first is left out, which warms up
  double seconds = 0;              // median; of each step, the longest of any rank
  std::vector<double> busy;        // by rank: medians; with what filled its waiting, and with all of reduce and
                                   // step, though ranks wait for one another in them
  std::vector<StageCost> costs;    // by stage: medians of its passes; messages cost nothing
  double finish = 0;               // median of reduce and step, where they are
  // The step whose length is nearest to the median, by rank and in order, from its first pass on. Each trace has a
  // clock of its own: those of ranks that send to each other are set so that no message comes before it is sent, in the
  // middle of what messages both ways leave, or so that the fastest of one way took no time.
  std::vector<std::vector<TimedAction>> timeline;
  [[nodiscard]] double bubble() const;  // share of the ranks' time without work
};

// `folder`: of a run of this schedule without validation; the first replica's ranks. Throws DataError
// naming the trace that is missing, that is none, or whose actions are not the schedule's.
[[nodiscard]] MeasuredStep read_measured_step(const std::filesystem::path& folder,
                                              const Schedule& schedule);

// Its timeline as something played, for timeline.h; `busy` is that of this one step.
[[nodiscard]] Simulation as_played(const MeasuredStep& measured);

}  // namespace desta::trainer
