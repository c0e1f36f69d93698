#!/usr/bin/env bash
# Does a wire format change what is learned? The stand-ins are trained for 1000 steps on two replicas, once in
# each format, and once more in float32 from another seed: that is the noise. Prints the mean loss of every
# hundred steps, and draws bench/wire_loss.svg if gnuplot is there.
#   bench/wire_loss.sh [steps]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/mpi_environment.sh

steps=${1:-1000}
config=configs/ablation.yaml
work=$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

build/bin/desta-datagen "$config" 2>/dev/null
train() { # name, wire, seed
  mpirun -n 2 build/bin/desta-train "$config" --set run.folder="$work/$1" --set data_parallel.wire="$2" \
    --set run.seed="$3" --set data_parallel.replicas=2 --set batch.global_size=4 --set batch.micro_size=2 \
    --set training.steps="$steps" --set checkpoint.every=0 2>"$work/$1.log"
}
train float32 float32 1
train bfloat16 bfloat16 1
train powersgd powersgd 1
train float32-seed-2 float32 2
python3 - "$work" "$steps" <<'PYTHON' | tee "$work/table.txt"
import json, sys

work, steps = sys.argv[1], int(sys.argv[2])
names = ["float32", "float32-seed-2", "bfloat16", "powersgd"]
window = max(1, steps // 10)

def losses(name):
    lines = [json.loads(line) for line in open(f"{work}/{name}/metrics.jsonl")]
    return [line["loss"] for line in lines if "loss" in line]

means = {name: [sum(values[i:i + window]) / window for i in range(0, steps, window)]
         for name in names for values in [losses(name)]}
print("# up_to_step", *names)
for i in range(len(means["float32"])):
    print((i + 1) * window, *(f"{means[name][i]:.4f}" for name in names))
for name in names[1:]:
    worst = max(abs(a - b) for a, b in zip(means[name], means["float32"]))
    print(f"# {name}: at most {worst:.4f} from float32, at the end {means[name][-1] - means['float32'][-1]:+.4f}")
PYTHON
if command -v gnuplot >/dev/null; then
  gnuplot <<GNUPLOT
set terminal svg size 720,420 font "sans,12"
set output "bench/wire_loss.svg"
set xlabel "step"
set ylabel "mean loss of the steps since the last point"
set key top right
plot "$work/table.txt" using 1:2 with linespoints title "float32", \
  "" using 1:3 with linespoints title "float32, another seed", \
  "" using 1:4 with linespoints title "bfloat16", \
  "" using 1:5 with linespoints title "PowerSGD, rank 4"
GNUPLOT
fi
