// Running programs as a person would, and killing them as a power cut would.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace desta::tests {

struct Finished {
  int code = 0;        // exit status; 128 + n when signal n ended it; 124: it hung
  std::string output;  // standard output and error together
};

inline int status_code(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Runs a shell command to its end. A command that hangs is ended after `seconds` with code 124.
inline Finished run_command(const std::string& command, int seconds = 60) {
  const std::string line = fmt::format("exec timeout -k 5 {} {} 2>&1 </dev/null", seconds, command);
  std::FILE* pipe = ::popen(line.c_str(), "r");
  Finished finished;
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    finished.output.append(buffer, n);
  }
  finished.code = status_code(::pclose(pipe));
  return finished;
}

// A command line of `ranks` ranks.
inline std::string mpirun(int ranks, const std::string& program_and_arguments) {
  return fmt::format("{} --oversubscribe -n {} {}", DESTA_MPIEXEC, ranks, program_and_arguments);
}

inline std::vector<pid_t> children_of(pid_t parent) {
  std::ifstream in(fmt::format("/proc/{0}/task/{0}/children", parent));
  std::vector<pid_t> pids;
  for (pid_t pid = 0; in >> pid;) {
    pids.push_back(pid);
  }
  return pids;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Processes that run `program` with `argument` among their arguments, whoever started them.
inline std::vector<pid_t> processes_of(const std::string& program, const std::string& argument) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid > 0 && read_text(entry.path() / "comm") == program + "\n" &&
        ('\0' + read_text(entry.path() / "cmdline")).find('\0' + argument + '\0') != std::string::npos) {
      found.push_back(pid);
    }
  }
  return found;
}

// Processes that stand still as long as it lives: however fast they are, what they are sent meanwhile finds them where
// they were.
class Standstill {
 public:
  explicit Standstill(std::vector<pid_t> pids) : pids_(std::move(pids)) { send(SIGSTOP); }
  Standstill(const Standstill&) = delete;
  Standstill& operator=(const Standstill&) = delete;
  ~Standstill() { send(SIGCONT); }

  // Waits, at most so long, until a signal waits for one of them, or one is gone.
  void wait_for_signal(std::chrono::seconds patience) const {
    const auto limit = std::chrono::steady_clock::now() + patience;
    while (!is_reached() && std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

 private:
  void send(int number) const {
    for (const pid_t pid : pids_) {
      ::kill(pid, number);
    }
  }
  [[nodiscard]] bool is_reached() const {
    constexpr unsigned long long kOfStopping = 1ULL << (SIGSTOP - 1) | 1ULL << (SIGCONT - 1);
    return std::any_of(pids_.begin(), pids_.end(), [](pid_t pid) {
      const std::string status = read_text(fmt::format("/proc/{}/status", pid));
      for (const std::string field : {"SigPnd:", "ShdPnd:"}) {
        const auto at = status.find(field);
        if (at == std::string::npos || (std::stoull(status.substr(at + field.size()), nullptr, 16) & ~kOfStopping) != 0) {
          return true;
        }
      }
      return false;
    });
  }

  const std::vector<pid_t> pids_;
};

// A command that runs beside the test, so that the test can kill it or parts of it.
class Background {
 public:
  explicit Background(const std::string& command)
      : output_(::memfd_create("output", 0)), pid_(::fork()) {
    if (pid_ == 0) {
      ::dup2(::open("/dev/null", O_RDONLY), 0);
      ::dup2(output_, 1);
      ::dup2(output_, 2);
      const std::string line = "exec " + command;
      ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      ::_exit(127);
    }
  }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background() {
    kill_all();
    ::close(output_);
  }

  // Waits until `due` holds. False when the command ended, or a minute passed, before.
  bool wait_until(const std::function<bool()>& due) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!ended() && std::chrono::steady_clock::now() < limit) {
      if (due()) {
        return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  bool ended() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) {
      pid_ = 0;
    }
    return pid_ == 0;
  }
  // How it ended.
  [[nodiscard]] int code() const { return status_code(status_); }
  [[nodiscard]] pid_t pid() const { return pid_; }
  // Standard output and error together, so far.
  [[nodiscard]] std::string output() const {
    return read_text(fmt::format("/proc/self/fd/{}", output_));
  }
  // The ranks, when the command is mpirun.
  [[nodiscard]] std::vector<pid_t> ranks() const { return children_of(pid_); }
  // mpirun alone; what becomes of its ranks is Open MPI's business.
  void kill_parent() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, &status_, 0);
      pid_ = 0;
    }
  }
  // As a power cut: all at once, nobody hears of it.
  void kill_all() {
    if (pid_ > 0) {
      for (const pid_t rank : ranks()) {
        ::kill(rank, SIGKILL);
      }
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, &status_, 0);
      pid_ = 0;
    }
  }

 private:
  int output_;
  pid_t pid_;
  int status_ = 0;
};

// Starts a command and kills it and all that it started once `due` holds. Returns false when the
// command ended (or a minute passed) before.
inline bool kill_when(const std::string& command, const std::function<bool()>& due) {
  Background running(command);
  return running.wait_until(due);
}

// How often `needle` stands in `text`.
inline int count_of(const std::string& text, const std::string& needle) {
  int count = 0;
  for (auto at = text.find(needle); at != std::string::npos; at = text.find(needle, at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace desta::tests
