#include "launch/sweep_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/algorithm/string/replace.hpp>
#include <boost/tokenizer.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/stop_request.h"

namespace desta::launch {
namespace fs = std::filesystem;

namespace {

constexpr auto kPause = std::chrono::milliseconds(20);

// In the child, between fork and exec.
[[noreturn]] void become(std::vector<char*>& arguments, int log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) {
    ::_exit(127);  // the parent died before it could be watched
  }
  ::setpgid(0, 0);  // Ctrl-C is for the sweeper, which passes it on
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::execvp(arguments.front(), arguments.data());
  ::dprintf(2, "error: cannot start %s: %s\n", arguments.front(), std::strerror(errno));
  ::_exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, const fs::path& log) {
  std::vector<std::string> copies = arguments;
  std::vector<char*> pointers;
  for (auto& argument : copies) {
    pointers.push_back(argument.data());
  }
  pointers.push_back(nullptr);
  const int descriptor = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    throw runtime::InternalError("{}: cannot write to it: {}", log.string(), std::strerror(errno));
  }
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    become(pointers, descriptor, parent);
  }
  const int reason = errno;
  ::close(descriptor);
  if (pid_ < 0) {
    pid_ = 0;
    throw runtime::InternalError("cannot start {}: {}", arguments.front(), std::strerror(reason));
  }
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

std::optional<int> ChildProcess::poll() {
  int status = 0;
  if (pid_ == 0 || ::waitpid(pid_, &status, WNOHANG) != pid_) {
    return std::nullopt;
  }
  pid_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void ChildProcess::signal(int number) const {
  if (pid_ > 0) {
    ::kill(pid_, number);
  }
}

std::string last_error(const fs::path& log, std::uint64_t start) {
  static constexpr std::string_view kMark = "error: ";
  std::ifstream in(log, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(start));
  std::string last;
  std::string error;
  for (std::string line; std::getline(in, line);) {
    line = line.substr(line.rfind('\r') + 1);  // what a progress bar left
    if (const auto at = line.find(kMark); at != std::string::npos) {
      error = line.substr(at + kMark.size());
    }
    if (line.find_first_not_of(" \t-") != std::string::npos) {
      last = line;
    }
  }
  return error.empty() ? last : error;
}

Ending run_to_end(const std::vector<std::string>& arguments, const fs::path& log) {
  std::error_code absent;
  const auto size = fs::file_size(log, absent);
  const std::uint64_t start = absent ? 0 : size;
  ChildProcess child(arguments, log);
  Ending ending;
  for (;;) {
    if (const auto code = child.poll()) {
      ending.code = *code;
      break;
    }
    if (!ending.stopped && runtime::stop_is_due()) {
      ending.stopped = true;
      child.signal(SIGUSR1);
    }
    std::this_thread::sleep_for(kPause);
  }
  const std::string name = fs::path(arguments.front()).filename().string();
  if (ending.code == runtime::kExitOk) {
    ending.stopped = false;  // it had come to its end
  } else if (ending.code == runtime::kExitRequeue || ending.stopped) {
    ending.stopped = true;
    ending.message = runtime::stop_is_due() ? "stopped by " + runtime::stop_reason()
                                            : name + " asked to be started again";
  } else {
    ending.message = last_error(log, start);
    if (ending.code > 128 || ending.message.empty()) {
      ending.message = (ending.code > 128 ? fmt::format("{} was ended by {}", name,
                                                        runtime::signal_name(ending.code - 128))
                                          : fmt::format("{} ended with {}", name, ending.code)) +
                       (ending.message.empty() ? "" : "; last line: " + ending.message);
    }
  }
  return ending;
}

std::string sibling(const std::string& program) {
  return (fs::read_symlink("/proc/self/exe").parent_path() / program).string();
}

std::vector<std::string> command_line(const std::string& launcher, std::int64_t ranks,
                                      const std::string& program,
                                      const std::vector<std::string>& arguments) {
  std::vector<std::string> line;
  if (ranks > 1) {
    const boost::tokenizer<boost::escaped_list_separator<char>> words(
        launcher, boost::escaped_list_separator<char>("\\", " \t", "\"'"));
    for (std::string word : words) {
      if (!word.empty()) {
        boost::replace_all(word, "{ranks}", std::to_string(ranks));
        line.push_back(std::move(word));
      }
    }
  }
  line.push_back(sibling(program));
  line.insert(line.end(), arguments.begin(), arguments.end());
  return line;
}

}  // namespace desta::launch
