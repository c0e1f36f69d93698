// The log of a process: short lines on standard error that say which rank speaks.
#pragma once

#include <spdlog/logger.h>

#include <string_view>

namespace desta::runtime {

// Call once at start, when the rank is known. `level` is one of trace, debug, info, warn, error,
// off; the environment variable DESTA_LOG overrides it. Throws ConfigError on another word.
void init_logging(int rank, std::string_view level = "info");

// The log; usable (as rank 0, level info) before init_logging. Thread-safe.
[[nodiscard]] spdlog::logger& log();

}  // namespace desta::runtime
