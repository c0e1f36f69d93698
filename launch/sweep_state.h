// What has become of each trial: small files in the sweep's folder, each whole or absent, and a
// lock that the processes of a trial hold while one of them lives. So the folder alone says what is
// to be done, whatever was killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "runtime/core/file_lock.h"

namespace desta::launch {

enum class TrialStatus { kPending, kRunning, kDone, kFailed };

[[nodiscard]] std::string to_string(TrialStatus status);

struct TrialState {
  TrialStatus status = TrialStatus::kPending;
  std::int64_t attempts = 0;
  std::int64_t round = 0;  // that it came to, from 1
  int exit_code = 0;       // of the program that ended it
  std::string message;     // of that program's last error
  std::string started;     // the latest attempt; UTC
  std::string ended;
  std::string host;  // of the process that runs it
  pid_t pid = 0;
  pid_t sweeper = 0;    // that started this process; 0: none
  std::string version;  // of these programs, when it ran last
};

// Now, as "2026-05-01T12:00:00Z".
[[nodiscard]] std::string utc_now();

// The folder of one trial.
class TrialFolder {
 public:
  explicit TrialFolder(std::filesystem::path path) : path_(std::move(path)) {}

  [[nodiscard]] std::filesystem::path log() const { return path_ / "log.txt"; }
  [[nodiscard]] std::filesystem::path config() const { return path_ / "config.yaml"; }
  [[nodiscard]] std::filesystem::path description() const { return path_ / "trial.json"; }
  [[nodiscard]] std::filesystem::path lock() const { return path_ / "lock"; }

  // As the file says; pending when there is none. A damaged file is said in the log, by its name,
  // and counts as pending.
  [[nodiscard]] TrialState read() const;
  // The same, but what runs under nobody's lock is pending: its process is gone.
  [[nodiscard]] TrialState current() const;
  void write(const TrialState& state) const;
  [[nodiscard]] bool is_locked() const { return runtime::FileLock::is_held(lock()); }

 private:
  [[nodiscard]] std::filesystem::path state_path() const { return path_ / "state.json"; }
  std::filesystem::path path_;
};

}  // namespace desta::launch
