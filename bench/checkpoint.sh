#!/usr/bin/env bash
# What a checkpoint costs the training: an adapter of 131 M parameters (1.6 GB with its two moments) is
# trained for 11 steps, without saving and with a save every third step, one rank on one core.
# Prints the seconds that training waited, and those that steps took longer while the writer was busy.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/mpi_environment.sh

config=configs/ablation.yaml
work=$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

build/bin/desta-datagen "$config" 2>/dev/null
train() { # name, steps between saves
  build/bin/desta-train "$config" --set run.folder="$work/$1" --set adapter.ffn=170000 \
    --set training.steps=11 --set checkpoint.every="$2" --set checkpoint.keep=1 2>"$work/$1.log"
}
train without 0
train with 3
python3 - "$work" <<'PYTHON'
import json, statistics, sys

def lines(name):
    return [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/metrics.jsonl")]

def steps(name):  # the first warms up
    return [line["seconds"] for line in lines(name) if "loss" in line][1:]

size = [line for line in lines("with") if "adapter_bytes" in line][0]["adapter_bytes"] / 4
waits = [line["seconds_waited_for_save"] for line in lines("with")
         if "seconds_waited_for_save" in line and not line["to_its_end"]]
plain = statistics.median(steps("without"))
slower = sum(steps("with")) - sum(steps("without"))
print(f"adapter of {size / 1e6:.1f} M parameters, checkpoint of {12 * size / 1e9:.2f} GB")
print(f"a step without saving: {plain:.2f} s (median of {len(steps('without'))})")
print("training waited for a save:", ", ".join(f"{wait:.2f} s" for wait in waits))
print(f"steps took longer by {slower / len(waits):.2f} s a save while it was written")
lost = statistics.mean(waits) + slower / len(waits)
print(f"lost in all: {lost:.2f} s a save = {lost / plain:.2f} of a step")
PYTHON
