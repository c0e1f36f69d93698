// Writes checkpoints beside the training: the trial is copied, which takes a fraction of a second, and
// a thread of low priority writes the copy to disk.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "trainer/checkpoint.h"

namespace desta::trainer {

// How a save ended.
struct SaveOutcome {
  std::string path;     // empty when it failed
  std::string problem;  // one line, empty when it did not
  double seconds = 0;   // of writing, beside the training
  template <class Archive>
  void serialize(Archive& archive) {
    archive(path, problem, seconds);
  }
};

class CheckpointWriter {
 public:
  CheckpointWriter(std::filesystem::path run, CheckpointOptions options, RunIdentity identity);
  // Waits for what is being written.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // The copy to fill, one part for each stage on which the trial learns. Waits until the save before
  // is done. Its memory is kept from save to save.
  [[nodiscard]] std::vector<TrialState>& buffer();
  // Writes buffer() beside the caller.
  void start();
  // Waits until nothing is being written.
  void wait();
  // Saves that have ended since the last call.
  [[nodiscard]] std::vector<SaveOutcome> take_outcomes();

 private:
  void run();
  void write();

  const std::filesystem::path run_;
  const CheckpointOptions options_;
  const RunIdentity identity_;
  std::vector<TrialState> parts_;  // the thread's while busy_, the caller's otherwise
  std::mutex mutex_;
  std::condition_variable changed_;
  bool busy_ = false;
  bool ending_ = false;
  std::vector<SaveOutcome> outcomes_;
  std::thread thread_;
};

}  // namespace desta::trainer
