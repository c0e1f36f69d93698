#!/usr/bin/env bash
# Runs the tests of the runtime under ThreadSanitizer and AddressSanitizer (with UndefinedBehavior), each
# built in a folder of its own beside build/. Takes some twenty minutes on two cores.
#   tests/sanitizers.sh [thread|address]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/mpi_environment.sh
suppressions=$PWD/tests/sanitizers

run() {
  local name=$1 flags=$2
  cmake -S . -B "build-$name" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="$flags -Wno-tsan" \
    -DCMAKE_EXE_LINKER_FLAGS="$flags" >/dev/null
  ninja -C "build-$name" runtime_test runtime_actor_test runtime_status_test runtime_join_test runtime_mpi_test \
    runtime_mpi_unwind runtime_soak
  TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:suppressions=$suppressions/thread.txt" \
    ASAN_OPTIONS="detect_leaks=1" UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1" \
    LSAN_OPTIONS="suppressions=$suppressions/leak.txt" \
    ctest --test-dir "build-$name" -R '^runtime' -E screenshot --output-on-failure
}

case "${1:-all}" in
  thread) run thread "-fsanitize=thread" ;;
  address) run address "-fsanitize=address,undefined" ;;
  all)
    run thread "-fsanitize=thread"
    run address "-fsanitize=address,undefined"
    ;;
  *)
    echo "usage: tests/sanitizers.sh [thread|address]" >&2
    exit 2
    ;;
esac
