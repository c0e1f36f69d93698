// The job that the tests of several processes run in.
#pragma once

#include "runtime/transport/mpi_environment.h"

namespace desta::runtime::testing {

[[nodiscard]] const MpiEnvironment& job();

}  // namespace desta::runtime::testing
