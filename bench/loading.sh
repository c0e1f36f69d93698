#!/usr/bin/env bash
# How fast four stages load Llama-3-8B's shape from four shards (random weights, made here: 16 GB on the disk of
# TMPDIR), each its own tensors only, cold and warm, beside plain reads of the same bytes; one JSON line a figure.
# What is timed stands in the head of bench/loading.cpp. Builds the benchmarks in build/.
#   bench/loading.sh [layers] [rounds]     32 and 3 by default; a layer less is 0.44 GB less
set -euo pipefail
cd "$(dirname "$0")/.."
layers=${1:-32}
rounds=${2:-3}
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh -DDESTA_BENCH=ON >&2
fi
source launch/mpi_environment.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 bench/peers/sharded_llama.py "$work/llm" --layers "$layers"
mpirun -n 4 build/bin/bench_loading "$work/llm" "$rounds"
