// Schedules as text: to read, to draw, to write by hand.
#pragma once

#include <filesystem>
#include <string>

#include "trainer/schedule.h"

namespace desta::trainer {

// One line an action, "rank,stage,op,microbatch", behind a line that names these columns; each rank's
// actions in their order. A table of several trials has one column more, "trial".
[[nodiscard]] std::string to_csv(const Schedule& schedule);

// A table of one trial read from a file, for `shape`: a table of one's own. Lines that begin with # are passed over.
// Throws ConfigError naming file and line when a line cannot be read, and as check_schedule() does when
// the table does not train.
[[nodiscard]] Schedule read_schedule(const std::filesystem::path& file, const ScheduleShape& shape);

// Forward and backward passes of each rank, a line a rank: "rank 0 | F0 F1 B0 B1"; with several stages a
// rank, F0.1 is the forward of microbatch 0 on the rank's second stage; with several trials, F2:0 is that of
// trial 2.
[[nodiscard]] std::string to_text(const Schedule& schedule);

// What pipeline.schedule names: a schedule that training_schedule() knows, or a .csv file.
[[nodiscard]] Schedule make_schedule(const std::string& name, const ScheduleShape& shape);

}  // namespace desta::trainer
