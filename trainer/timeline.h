// A played schedule, or a step that was measured (measured_step.h), as a picture, and as a trace like the one that a
// run records.
#pragma once

#include <string>

#include "trainer/simulator.h"

namespace desta::trainer {

// One row a rank, time from left to right: forward passes, backward passes (darker), reduce and step;
// white is idle. Passes have their microbatch's number where there is room, and all that is known of
// them as a tooltip. `unit` stands behind times ("s").
[[nodiscard]] std::string to_svg(const Simulation& simulation, const std::string& title,
                                 const std::string& unit);

// Chrome trace format (chrome://tracing, ui.perfetto.dev): one process a rank, as in a run's
// trace.json, with the same names. Times are taken for seconds.
[[nodiscard]] std::string to_chrome_trace(const Simulation& simulation);

}  // namespace desta::trainer
