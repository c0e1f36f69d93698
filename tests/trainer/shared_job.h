// One tiny job for all tests of this program, made at its first use.
#pragma once

#include "support/tiny_job.h"

namespace desta::trainer {

inline const TrainingOptions& shared_job() {
  static const TrainingOptions options = tests::make_tiny_job(tests::fresh_folder("trainer"));
  return options;
}

}  // namespace desta::trainer
