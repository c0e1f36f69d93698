// An error becomes one line and an exit code.
#pragma once

#include <functional>

namespace desta::launch {

// Runs the work of a process that is no rank of a job.
[[nodiscard]] int report_errors(const std::function<int()>& work);

}  // namespace desta::launch
