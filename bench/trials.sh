#!/usr/bin/env bash
# Eight ablation trials in one job against the same eight in jobs of their own, one after the other: wall seconds from the
# first command to the end of the last, start-up and checkpoints included; one JSON line a figure. Two ranks, the
# quickstart's models and rows (launch/quickstart.sh makes them); builds in build/.
#   bench/trials.sh [STEPS]     steps a trial; 40 if not given
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-40}
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh >&2
fi
source launch/mpi_environment.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT

# name, and what differs: the first eight hear the same rows in each step, the last eight have rows of their own.
rates=(0.0005 0.001 0.002 0.003 0.0005 0.001 0.002 0.003)
queries=(16 16 16 16 8 8 8 8)

configure() { # kind, number, ranks' shape, further settings...: writes a whole configuration, prints its path
  local kind=$1 number=$2 shape=$3
  shift 3
  local seed=1
  if [ "$kind" = seeds ]; then
    seed=$((number + 1))
  fi
  local file="$work/$kind-$shape-$number.yaml"
  /usr/bin/python3 - "$file" "$work/run-$kind-$shape-$number" "$seed" "${rates[$number]}" "${queries[$number]}" "$steps" \
    "$shape" "$@" <<'PYTHON'
import sys, yaml

file, folder, seed, rate, queries, steps, shape = sys.argv[1:8]
config = yaml.safe_load(open("configs/quickstart.yaml"))
config["run"].update(folder=folder, seed=int(seed))
config["data"]["seed"] = 1
config["adapter"]["queries"] = int(queries)
config["optimizer"]["learning_rate"] = float(rate)
config["training"].update(steps=int(steps), validate_every=0)
config["checkpoint"]["every"] = 0
config["pipeline"]["stages"] = 2 if shape == "stages" else 1
config["data_parallel"]["replicas"] = 1 if shape == "stages" else 2
for setting in sys.argv[8:]:
    key, value = setting.split("=")
    section, name = key.split(".")
    config[section][name] = yaml.safe_load(value)
yaml.safe_dump(config, open(file, "w"))
PYTHON
  echo "$file"
}

timed() { # name, command...
  local name=$1 start
  shift
  start=$(date +%s.%N)
  "$@" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    return 1
  }
  /usr/bin/python3 -c "import json, time; print(json.dumps({'system': 'desta', 'what': '$name', 'value': time.time() - $start, 'unit': 's'}))"
}

one_by_one() { # configurations
  local config
  for config; do
    mpirun -n 2 build/bin/desta-train "$config"
  done
}

for kind in ${KINDS:-ablation seeds}; do
  for shape in replicas stages; do
    configs=()
    for number in 0 1 2 3 4 5 6 7; do
      configs+=("$(configure $kind $number $shape)")
    done
    timed "eight_${kind}_${shape}_one_by_one" one_by_one "${configs[@]}"
    rm -rf "$work"/run-*
    timed "eight_${kind}_${shape}_together" mpirun -n 2 build/bin/desta-train "${configs[@]}"
    rm -rf "$work"/run-*
  done
done
