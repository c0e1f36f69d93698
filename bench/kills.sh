#!/usr/bin/env bash
# Random kills over a generation of data, then the dataset compared with that of an undisturbed run: the same
# rows, each once. Kills hit mpirun, one rank, all at once, or a worker that has joined, with SIGKILL; or all
# ranks are asked to stop with SIGTERM. Random models of a few thousand parameters, two ranks.
# Prints how many there were of each and how long it took; exits with an error where the rows differ.
#   bench/kills.sh [KILLS] [ROWS] [SEED]     200 kills over 10,000 rows by default
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh >&2
fi
source launch/mpi_environment.sh
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
DESTA_KILLS=${1:-200} DESTA_KILL_ROWS=${2:-10000} DESTA_KILL_SEED=${3:-2409} \
  build/bin/generation_job_test --gtest_filter='GenerationKills.*'
