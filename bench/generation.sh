#!/usr/bin/env bash
# How fast the generation engine writes, beside llama.cpp on the same weights, one after the other; one JSON line a
# figure. What is timed stands in the head of bench/generation.cpp. Builds the benchmarks in build/.
#   bench/generation.sh [LLM_FOLDER] [bfloat16|float32] [THREADS]     the stand-in, bfloat16 and 1 by default
# llama.cpp comes from npm, as in bench/peers/README.md; where it cannot be had, the engine is timed alone.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-models/stand-ins/llm}
precision=${2:-bfloat16}
threads=${3:-1}
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh -DDESTA_BENCH=ON >&2
fi
export OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads"
build/bin/bench_generation "$model" "$precision" "$threads"

scratch=${TMPDIR:-/tmp}/desta-peers
libraries=$scratch/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
mkdir -p "$scratch"
cp bench/peers/package.json "$scratch/"
if [ -d "$libraries" ] || (cd "$scratch" && npm install --ignore-scripts --omit=optional --no-package-lock) >&2; then
  PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 bench/peers/llama_generation.py "$libraries" "$model" "$precision" \
    "$threads" 2>"$scratch/llama_generation.log"
else
  echo "llama.cpp cannot be had from npm here: no figures of it" >&2
fi
