#include "launch/short_command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

extern char** environ;  // NOLINT: POSIX

namespace desta::launch {
namespace {

using Clock = std::chrono::steady_clock;

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  return first == std::string::npos
             ? ""
             : text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

// Reads until the writer's end is closed. False when that took too long.
bool read_all(int descriptor, Clock::time_point limit, std::string& output) {
  std::array<char, 1024> buffer;
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now()).count();
    pollfd waiting{descriptor, POLLIN, 0};
    const int ready = left > 0 ? ::poll(&waiting, 1, static_cast<int>(left)) : 0;
    if (ready == 0) {
      return false;
    }
    const ssize_t count = ready < 0 ? -1 : ::read(descriptor, buffer.data(), buffer.size());
    if (count == 0) {
      return true;
    }
    if (count > 0) {
      output.append(buffer.data(), static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      return true;
    }
  }
}

// Whoever closes its output may still run.
int wait_for_end(pid_t child, Clock::time_point limit, bool& timed_out) {
  int status = 0;
  while (true) {
    const pid_t ended = ::waitpid(child, &status, timed_out ? 0 : WNOHANG);
    if (ended == child || (ended < 0 && errno != EINTR)) {
      return status;
    }
    if (ended == 0 && Clock::now() >= limit) {
      timed_out = true;
      ::kill(child, SIGKILL);
    } else if (ended == 0) {
      const timespec moment{0, 5'000'000};
      ::nanosleep(&moment, nullptr);
    }
  }
}

}  // namespace

CommandAnswer run_briefly(const std::vector<std::string>& arguments,
                          std::chrono::milliseconds timeout,
                          const std::vector<std::string>& variables) {
  std::vector<char*> argv;
  for (const auto& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  std::vector<char*> environment;
  for (const auto& variable : variables) {
    environment.push_back(const_cast<char*>(variable.c_str()));
  }
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.push_back(*variable);
  }
  environment.push_back(nullptr);

  CommandAnswer answer;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return answer;
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  pid_t child = 0;
  const int failure =
      ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (failure != 0) {
    ::close(ends[0]);
    return answer;
  }
  answer.found = true;
  const auto limit = Clock::now() + timeout;
  bool timed_out = !read_all(ends[0], limit, answer.output);
  ::close(ends[0]);
  if (timed_out) {
    ::kill(child, SIGKILL);
  }
  const int status = wait_for_end(child, limit, timed_out);
  answer.code = timed_out ? 124 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  answer.output = trimmed(answer.output);
  return answer;
}

}  // namespace desta::launch
