// The tests of joining, or one of the programs that they start: a worker or a job of its own
// process.
#include <gtest/gtest.h>

#include <cstdio>
#include <exception>
#include <string_view>

#include "runtime/core/log.h"
#include "tests/runtime/join_support.h"

int main(int argc, char** argv) {
  namespace tests = desta::runtime::testing;
  try {
    if (argc == 4 && argv[1] == std::string_view("--join-worker")) {
      return tests::run_worker(argv[2], argv[3]);
    }
    if (argc == 4 && argv[1] == std::string_view("--join-job")) {
      return tests::run_job(argv[2], argv[3]);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  desta::runtime::init_logging(0, "error");
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
