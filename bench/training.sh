#!/usr/bin/env bash
# Samples a second of training, beside a plain PyTorch loop for the same models, rows and precision
# (peers/torch_training.py) at its best of one process with one thread, one with two, and two processes; and each one's
# peak of resident memory beyond that after loading, over the samples of a microbatch: one JSON line a figure. Needs python3-torch (Debian) and the quickstart's data (launch/quickstart.sh); builds the benchmarks in build/.
#   bench/training.sh stand-ins [float32|bfloat16]    the quickstart's models
#   bench/training.sh 1b [float32|bfloat16]           whisper-small's shape and six layers of Llama-3.2-1B's, random weights
set -euo pipefail
cd "$(dirname "$0")/.."
shape=${1:-stand-ins}
precision=${2:-bfloat16}
if ! /usr/bin/python3 -c 'import torch' 2>/dev/null; then
  echo "the peer is missing: apt-get install python3-torch" >&2
  exit 2
fi
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh -DDESTA_BENCH=ON >&2
fi
source launch/mpi_environment.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

config=configs/quickstart.yaml
case $shape in
  stand-ins)
    models=models/stand-ins
    steps=12 warm_up=2 global=16 micro=8
    adapter=(16 2 768)
    ;;
  1b)
    models=$work/models
    /usr/bin/python3 bench/peers/random_models.py "$models"
    steps=3 warm_up=1 global=8 micro=4
    if [ "$precision" = float32 ]; then # three to four times as slow
      global=4 micro=2
    fi
    adapter=(64 2 3072)
    ;;
  *)
    echo "usage: bench/training.sh stand-ins|1b [float32|bfloat16]" >&2
    exit 2
    ;;
esac
set_all=(--set models.speech="$models/speech" --set models.llm="$models/llm" --set models.precision="$precision"
  --set adapter.queries="${adapter[0]}" --set adapter.layers="${adapter[1]}" --set adapter.ffn="${adapter[2]}"
  --set batch.global_size=$global --set batch.micro_size=$micro --set training.steps=$steps
  --set checkpoint.every=0 --set training.validate_every=0)

build/bin/bench_training_rows "$config" "${set_all[@]}" --steps $steps >"$work/rows.jsonl"

peer() { # threads, processes
  /usr/bin/python3 bench/peers/torch_training.py --speech "$models/speech" --llm "$models/llm" --rows "$work/rows.jsonl" \
    --precision "$precision" --micro-size $micro --global-size $global --steps $steps --warm-up $warm_up --threads "$1" \
    --processes "$2" --queries "${adapter[0]}" --layers "${adapter[1]}" --ffn "${adapter[2]}" --learning-rate 1e-3 \
    --lr-warm-up 20 --keep-memory --name "${shape}_${precision}_$2x$1" 2>"$work/peer.log" || {
    cat "$work/peer.log" >&2
    return 1
  }
}

ours() { # name, further settings
  local name=$1
  shift
  rm -rf "$work/run"
  mpirun -n 2 build/bin/desta-train "$config" "${set_all[@]}" --set run.folder="$work/run" "$@" 2>"$work/ours.log" || {
    cat "$work/ours.log" >&2
    return 1
  }
  /usr/bin/python3 - "$work/run/metrics.jsonl" "${shape}_${precision}_$name" $global $warm_up $micro <<'PYTHON'
import json, sys

lines = [json.loads(line) for line in open(sys.argv[1])]
seconds = [line["seconds"] for line in lines if "loss" in line][int(sys.argv[4]):]
print(json.dumps({"system": "desta", "what": sys.argv[2] + "_samples_per_second",
                  "value": int(sys.argv[3]) * len(seconds) / sum(seconds), "unit": "samples/s"}))
end = lines[-1]
beyond = max(peak - loaded for peak, loaded in zip(end["peak_resident_bytes"], end["resident_bytes_after_loading"]))
print(json.dumps({"system": "desta", "what": sys.argv[2] + "_memory_per_sample", "value": beyond / int(sys.argv[5]),
                  "unit": "bytes"}))
PYTHON
}

ours two_replicas --set pipeline.stages=1 --set data_parallel.replicas=2
ours two_stages --set pipeline.stages=2 --set data_parallel.replicas=1 --set batch.micro_size=$((micro / 2))
ours two_replicas_cache_filling --set pipeline.stages=1 --set data_parallel.replicas=2 --set data.features="$work/features"
ours two_replicas_later_epoch --set pipeline.stages=1 --set data_parallel.replicas=2 --set data.features="$work/features"
peer 1 1
peer 2 1
peer 1 2
