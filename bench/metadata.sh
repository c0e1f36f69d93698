#!/usr/bin/env bash
# Measured metadata against the truth, on synthetic speech, and how many times real time it is measured at on one core.
#   bench/metadata.sh [CLIPS]      default 1200
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1

build/bin/bench_metadata errors "${1:-1200}"
taskset -c 0 build/bin/bench_metadata speed
