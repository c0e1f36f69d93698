// Running a program of the system for its answer, as `squeue` and `scontrol`: found by PATH, for a
// few seconds at most.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace desta::launch {

struct CommandAnswer {
  bool found = false;  // there is such a program
  int code = 0;        // its exit status; 124 when it took too long and was killed
  std::string output;  // standard output and error together, without white space at its ends
};

// Runs `arguments[0]` with `arguments`; `variables` ("NAME=value") are put before the
// environment's. Never throws for what the program does.
[[nodiscard]] CommandAnswer run_briefly(const std::vector<std::string>& arguments,
                                        std::chrono::milliseconds timeout,
                                        const std::vector<std::string>& variables = {});

}  // namespace desta::launch
