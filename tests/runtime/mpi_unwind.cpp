// A program whose rank 1 fails while rank 0 waits for it: the job must end, with rank 1's code.
#include <cstdio>
#include <exception>

#include "runtime/collectives/make_communicator.h"
#include "runtime/core/error.h"

using namespace desta::runtime;

int main(int argc, char** argv) {
  try {
    MpiEnvironment environment(&argc, &argv);
    const auto communicator = make_communicator("auto", environment);
    if (environment.rank() == 1) {
      throw ConfigError("config.yaml: line 3: unknown key");
    }
    communicator->barrier();
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return exit_code(error.kind());
  }
  return 0;
}
