#!/usr/bin/env bash
# Responses written in the gaps of a training run, two ranks, the quickstart's models: how much of the training's idle
# time became texts and what that cost the training. The peer is the same run over the same rows, step by step
# (its stream.jsonl), with nothing left to write. One JSON line a figure; builds in build/.
# Half of the rows are there when training begins, so that it never has to wait for them.
#   bench/colocated.sh [STEPS] [key=value ...]     steps; 60 if not given. Settings are for desta-train's --set.
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-60}
shift || true
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh >&2
fi
source launch/mpi_environment.sh
work=${DESTA_BENCH_FOLDER:-$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")}
if [ -z "${DESTA_BENCH_FOLDER:-}" ]; then
  trap 'rm -rf "$work"' EXIT
fi
settings=()
for setting; do
  settings+=(--set "$setting")
done

train() { # run
  mpirun -n 2 build/bin/desta-train configs/quickstart.yaml --set "run.folder=$work/$1" --set "data.folder=$work/data" \
    --set data.synthetic.validation=0 --set data.synthetic.held_out=0 --set data.synthetic.flite=0 \
    --set "data.synthetic.train=$((steps * 16))" --set "training.steps=$steps" --set checkpoint.every=0 \
    --set generation.placement=colocated --set "generation.start_rows=$((steps * 8))" --set generation.ahead_rows=100000 "${settings[@]}" \
    >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    return 1
  }
}

train writing
mkdir -p "$work/quiet"
cp "$work/writing/stream.jsonl" "$work/quiet/"
train quiet

/usr/bin/python3 - "$work" <<'PYTHON'
import json, sys

def steps(run):
    lines = [json.loads(line) for line in open(f"{sys.argv[1]}/{run}/metrics.jsonl")]
    return [line for line in lines if "busy" in line][5:]  # the first ones learn how long gaps are

def idle(line):
    return sum(line["seconds"] * (1 - share) for share in line["busy"][0])

writing, quiet = steps("writing"), steps("quiet")
# Steps in which there was something to write to the end.
while writing and sum(writing[-1]["writing"][0]) == 0:
    writing.pop()
quiet = quiet[: len(writing)]
assert [line["loss"] for line in writing] == [line["loss"] for line in quiet], "not the same training"
seconds = {"writing": sum(l["seconds"] for l in writing), "quiet": sum(l["seconds"] for l in quiet)}
spent = sum(l["seconds"] * share for l in writing for share in l["writing"][0])
idle_before = sum(map(idle, quiet))
def tell(what, value, unit):
    print(json.dumps({"system": "desta", "what": what, "value": value, "unit": unit}))
tell("colocated_steps", len(writing), "steps")
tell("colocated_step_quiet", seconds["quiet"] / len(quiet), "s")
tell("colocated_step_writing", seconds["writing"] / len(writing), "s")
tell("colocated_training_slower", 100 * (seconds["writing"] / seconds["quiet"] - 1), "%")
tell("colocated_idle_quiet", 100 * idle_before / (2 * seconds["quiet"]), "%")
tell("colocated_idle_turned_into_tokens", 100 * spent / idle_before, "%")
tell("colocated_tokens", sum(l["written_tokens"] for l in writing) / seconds["writing"], "tokens/s")
PYTHON
