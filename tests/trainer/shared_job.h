// One tiny job for all tests of this program, made at its first use.
#pragma once

#include "support/tiny_job.h"

namespace desta::trainer {

inline const TrainingOptions& shared_job() {
  struct Job {
    std::filesystem::path folder = tests::fresh_folder("trainer");
    TrainingOptions options = tests::make_tiny_job(folder);
    ~Job() { std::filesystem::remove_all(folder); }
  };
  static const Job job;
  return job.options;
}

}  // namespace desta::trainer
