#include "trainer/checkpoint_writer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "runtime/core/error.h"

namespace desta::trainer {
namespace {

// Below the training where they share a core; Linux counts niceness by thread.
constexpr int kNiceness = 10;

}  // namespace

CheckpointWriter::CheckpointWriter(std::filesystem::path run, CheckpointOptions options,
                                   RunIdentity identity)
    : run_(std::move(run)),
      options_(options),
      identity_(std::move(identity)),
      thread_([this] { this->run(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

std::vector<TrialState>& CheckpointWriter::buffer() {
  wait();
  return parts_;
}

void CheckpointWriter::start() {
  {
    const std::lock_guard lock(mutex_);
    busy_ = true;
  }
  changed_.notify_all();
}

void CheckpointWriter::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
}

std::vector<SaveOutcome> CheckpointWriter::take_outcomes() {
  const std::lock_guard lock(mutex_);
  return std::exchange(outcomes_, {});
}

void CheckpointWriter::run() {
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNiceness);
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return busy_ || ending_; });
      if (!busy_) {
        return;
      }
    }
    write();
  }
}

void CheckpointWriter::write() {
  const auto start = std::chrono::steady_clock::now();
  SaveOutcome outcome;
  try {
    outcome.path = write_checkpoint(run_, parts_, options_, identity_).string();
  } catch (const std::exception& error) {
    outcome.problem = error.what();
  }
  outcome.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  {
    const std::lock_guard lock(mutex_);
    outcomes_.push_back(std::move(outcome));
    busy_ = false;
  }
  changed_.notify_all();
}

}  // namespace desta::trainer
