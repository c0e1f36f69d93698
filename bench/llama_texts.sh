#!/usr/bin/env bash
# Whether the generation engine writes what llama.cpp writes: the same float32 weights, greedy, 1,000 seed transcripts of
# 1,000 recordings as desta-datagen asks them, token by token. The engine answers in a crowd (bench/engine_texts.cpp),
# llama.cpp one at a time (peers/llama_texts.py). Ends with 1 where a text parts elsewhere than at a near-tie.
#   bench/llama_texts.sh [LLM_FOLDER] [COUNT] [NEW_TOKENS] [DATASET]       the stand-in, 1000 and 48 by default
# Without a dataset, the quickstart's speech is made for as many recordings, in a scratch folder. Builds the benchmarks in
# build/. llama.cpp comes from npm, as in bench/peers/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-models/stand-ins/llm}
count=${2:-1000}
new_tokens=${3:-48}
dataset=${4:-}
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh -DDESTA_BENCH=ON >&2
fi
source launch/mpi_environment.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

scratch=${TMPDIR:-/tmp}/desta-peers
libraries=$scratch/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
mkdir -p "$scratch"
cp bench/peers/package.json "$scratch/"
[ -d "$libraries" ] || (cd "$scratch" && npm install --ignore-scripts --omit=optional --no-package-lock) >&2

if [ -z "$dataset" ]; then
  # A recording in a hundred may be too like another to have a seed transcript of its own.
  mpirun -n 1 build/bin/desta-datagen configs/quickstart.yaml --set data.folder="$work/data" \
    --set run.folder="$work/run" --set data.synthetic.train=$((count + count / 50 + 1)) \
    --set data.synthetic.validation=1 --set data.synthetic.held_out=1 --set data.synthetic.flite=1 \
    --set generation.max_new_tokens=1 >&2
  dataset=$work/data/dataset/train
fi
build/bin/bench_engine_texts "$model" "$dataset" "$count" "$new_tokens" >"$work/texts.jsonl"
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 bench/peers/llama_texts.py "$libraries" "$model" "$new_tokens" \
  <"$work/texts.jsonl" 2>"$scratch/llama_texts.log"
