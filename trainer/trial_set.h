// The trials of one job: adapters that are trained at once on one copy of the frozen models. Each learns
// what it would learn in a job of its own, to the bit; what they share is the models, and of recordings that
// several hear in one step, what the frozen encoder makes of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "trainer/options.h"

namespace desta::trainer {

// What trials must have in common to be in one job, in words: the same text for two that may.
[[nodiscard]] std::string job_key(const TrainingOptions& options);

class TrialSet {
 public:
  // One trial is a set too.
  TrialSet(TrainingOptions only);  // NOLINT(google-explicit-constructor)
  // Throws ConfigError naming two run folders and the setting in which they must not differ: models, taps,
  // pipeline, replicas and features are the job's; several trials train the adapter alone, each into a run
  // folder of its own, by a schedule that has a name.
  explicit TrialSet(std::vector<TrainingOptions> trials);

  [[nodiscard]] std::size_t size() const { return trials_.size(); }
  [[nodiscard]] const TrainingOptions& operator[](std::size_t trial) const { return trials_[trial]; }
  // Where settings of the whole job are read.
  [[nodiscard]] const TrainingOptions& common() const { return trials_.front(); }
  [[nodiscard]] auto begin() const { return trials_.begin(); }
  [[nodiscard]] auto end() const { return trials_.end(); }

  // The first trial that has the same rows in each step: same dataset, seed and batches,
  // dealt out in the same way.
  [[nodiscard]] std::size_t first_with_same_rows(std::size_t trial) const;
  // Trials whose rows nobody before them has.
  [[nodiscard]] std::size_t streams() const;

 private:
  std::vector<TrainingOptions> trials_;
};

}  // namespace desta::trainer
