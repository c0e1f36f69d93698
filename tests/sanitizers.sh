#!/usr/bin/env bash
# Runs the tests of the runtime (but for the browser's screenshot) under ThreadSanitizer and AddressSanitizer (with UndefinedBehavior), each
# built in a folder of its own beside build/. Takes half an hour on two cores; its last line
# says whether anything was found.
#   tests/sanitizers.sh [thread|address]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/mpi_environment.sh
suppressions=$PWD/tests/sanitizers

# What a process reports goes to a file of its own: one that its test kills may have found something, too.
run() {
  local name=$1 flags=$2
  local build=$PWD/build-$name
  local reports=$build/reports
  local -a runner=()
  # Without address randomisation: the ThreadSanitizer of GCC 12 ends at once where it is wider than 28 bits.
  if [[ $name == thread ]] && setarch -R true 2>/dev/null; then
    runner=(setarch -R)
  fi
  # What MPI_Finalize leaves behind hangs on libraries that it unloads: as long as these stay loaded, it is
  # no leak.
  mkdir -p "$build"
  cc -c -x c -o "$build/keep_loaded.o" - <<<'int dlclose(void* handle) { (void)handle; return 0; }'
  # Not with -Werror: instrumented, the standard library itself has warnings. -O1 and line numbers alone:
  # compiled in 57 % of the time of -O2 -g (task_test.cpp). -Wno-tsan: headers of Boost use fences, which the
  # ThreadSanitizer does not know.
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Sanitizer -DDESTA_WERROR=OFF \
    -DCMAKE_CXX_FLAGS="-O1 -g1 -fno-omit-frame-pointer $flags" \
    -DCMAKE_EXE_LINKER_FLAGS="$flags $build/keep_loaded.o" >/dev/null
  ninja -C "$build" tests/runtime/all
  rm -rf "$reports"
  mkdir "$reports"
  local code=0
  TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:log_path=$reports/thread:suppressions=$suppressions/thread.txt" \
    ASAN_OPTIONS="detect_leaks=1:log_path=$reports/address" \
    UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:log_path=$reports/undefined" \
    LSAN_OPTIONS="print_suppressions=0:suppressions=$suppressions/leak.txt" \
    "${runner[@]}" ctest --test-dir "$build/tests/runtime" -E screenshot --output-on-failure || code=$?
  if [[ -n $(ls "$reports") ]]; then
    cat "$reports"/*
    code=1
  fi
  if [[ $code -ne 0 ]]; then
    echo "sanitizers: FAILED: the $name run found something, or a test failed" >&2
    exit 1
  fi
}

case "${1:-all}" in
  thread | all) run thread "-fsanitize=thread -Wno-tsan" ;;&
  address | all) run address "-fsanitize=address,undefined" ;;&
  thread | address | all) ;;
  *)
    echo "usage: tests/sanitizers.sh [thread|address]" >&2
    exit 2
    ;;
esac
echo "sanitizers: clean (${1:-thread, address})"
