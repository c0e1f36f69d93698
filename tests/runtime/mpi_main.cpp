// Runs the tests on every rank of a job; only rank 0 reports those that pass.
#include <gtest/gtest.h>

#include "mpi_job.h"
#include "runtime/core/log.h"

namespace desta::runtime::testing {

const MpiEnvironment*& job_pointer() {
  static const MpiEnvironment* pointer = nullptr;
  return pointer;
}

const MpiEnvironment& job() { return *job_pointer(); }

}  // namespace desta::runtime::testing

int main(int argc, char** argv) {
  const desta::runtime::MpiEnvironment environment(&argc, &argv);
  desta::runtime::testing::job_pointer() = &environment;
  desta::runtime::init_logging(environment.rank());
  if (environment.rank() != 0) {
    GTEST_FLAG_SET(brief, true);
  }
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  if (result != 0) {
    desta::runtime::MpiEnvironment::abort_job(result);
  }
  return 0;
}
