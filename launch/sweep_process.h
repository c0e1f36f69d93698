// Programs that a sweep starts: each in a process group of its own, silent but for a log file,
// asked to stop when the sweep is asked or dies.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace desta::launch {

// How a program ended.
struct Ending {
  int code = 0;          // exit status; 128 + n when signal n ended it
  bool stopped = false;  // it was asked to stop, or left with 75: to be started again
  std::string message;   // of its last error; "ended by SIGKILL"
};

class ChildProcess {
 public:
  // Starts `arguments` (the program first, found by PATH), with its output appended to `log`. The
  // child gets SIGTERM when this thread dies. Throws InternalError when it cannot be started.
  ChildProcess(const std::vector<std::string>& arguments, const std::filesystem::path& log);
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  // Kills and waits for one that still runs.
  ~ChildProcess();

  // Its exit status (128 + n: ended by signal n) once it has ended.
  [[nodiscard]] std::optional<int> poll();
  void signal(int number) const;

 private:
  pid_t pid_ = 0;
};

// The last line of `log` behind byte `start` that says "error: ...", without what stands before it;
// else its last line.
[[nodiscard]] std::string last_error(const std::filesystem::path& log, std::uint64_t start);

// Runs a program to its end. When a stop is asked for, it gets SIGUSR1 and is waited for.
[[nodiscard]] Ending run_to_end(const std::vector<std::string>& arguments,
                                const std::filesystem::path& log);

// The command line of `program`, which lies beside this one, for `ranks` ranks: "{ranks}" in
// `launcher` becomes the number; one rank needs no launcher.
[[nodiscard]] std::vector<std::string> command_line(const std::string& launcher, std::int64_t ranks,
                                                    const std::string& program,
                                                    const std::vector<std::string>& arguments);

// The path of a program beside this one.
[[nodiscard]] std::string sibling(const std::string& program);

}  // namespace desta::launch
