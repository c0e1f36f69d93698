// How far one trial of a training job is: its run folder, its step, its metrics, and what has gone wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/core/folder_lock.h"
#include "runtime/telemetry/metrics_writer.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/executor.h"
#include "trainer/options.h"
#include "trainer/trial_lane.h"

namespace desta::actors {

class TrialProgress {
 public:
  // Locks the run folder (two jobs in one would spoil each other's files; waits a minute for one that is
  // ending, then throws ConfigError). `label`: what stands in front of its lines in the log.
  TrialProgress(const trainer::TrainingOptions& options, std::string label);

  // Begins where its checkpoint stands.
  void start_from(const trainer::TrialInfo& adapter);

  [[nodiscard]] const trainer::TrainingOptions& options() const { return options_; }
  [[nodiscard]] const std::string& label() const { return label_; }
  [[nodiscard]] std::int64_t step() const { return step_; }
  [[nodiscard]] std::int64_t first_step() const { return first_step_; }
  [[nodiscard]] std::int64_t total_steps() const { return total_steps_; }
  [[nodiscard]] bool is_done() const { return step_ >= total_steps_; }
  // Of the last step.
  [[nodiscard]] double loss() const { return loss_; }
  // Why it cannot go on; empty while it can.
  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] bool goes_on() const { return failure_.empty() && !is_done(); }
  // Now is the time for what happens every so many steps: then, and at the end.
  [[nodiscard]] bool is_due(std::int64_t every) const;
  [[nodiscard]] bool validates() const;

  // One more step is done. `rest`: further fields of its line in metrics.jsonl. Fails when three in a row had
  // to be skipped.
  void finish_step(const trainer::TrialReport& report, const nlohmann::ordered_json& rest);
  void note_validation(double loss, std::int64_t tokens, std::int64_t right);
  // How saves have ended. Fails when three in a row went wrong.
  void note(const std::vector<trainer::SaveOutcome>& saves);
  void note_wait_for_save(double seconds, bool to_its_end);
  void write(const nlohmann::ordered_json& line) { metrics_.write(line); }
  // The first problem stays.
  void fail(std::string problem);

 private:
  trainer::TrainingOptions options_;
  std::string label_;
  std::optional<runtime::FileLock> lock_;  // on the run folder
  runtime::MetricsWriter metrics_;
  std::int64_t first_step_ = 0;
  std::int64_t total_steps_ = 0;
  std::int64_t step_ = 0;   // steps done
  double loss_ = 0;
  std::int64_t skips_ = 0;  // in a row
  int failed_saves_ = 0;    // in a row
  std::string failure_;
};

}  // namespace desta::actors
