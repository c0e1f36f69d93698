#!/usr/bin/env bash
# Steps of real runs beside the simulator's, for a dozen shapes of pipeline: a Markdown table. Each runs twice, cut alike:
# without and with the first rank filling its waiting time, which the simulator does not play. "simulated" plays the
# medians of the run's own passes; "predicted" knows only what layers cost alone (desta-train --profile, one rank, idle
# machine). Runs with more ranks than cores share them, so that their layers cost more than was measured: their
# prediction is left out. Needs the quickstart's data (launch/quickstart.sh).
#   bench/simulator.sh [steps]     20 by default
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-20}
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh >&2
fi
source launch/mpi_environment.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/desta-bench-XXXXXX")
trap 'rm -rf "$work"' EXIT
config=configs/quickstart.yaml
base=(--set training.steps="$steps" --set training.validate_every=0 --set checkpoint.every=0 --set run.trace=true)

echo "| schedule | microbatches | step, run | simulated | predicted | idle, run | simulated | (p-1)/(m+p-1) | step, filling | idle |"
echo "|---|---|---|---|---|---|---|---|---|---|"
measure() { # schedule stages chunks microbatches size
  local schedule=$1 stages=$2 chunks=$3 microbatches=$4 size=$5
  local costs=$work/costs-$5.json
  local shape=(--set pipeline.stages="$stages" --set pipeline.chunks="$chunks" --set pipeline.schedule="$schedule"
    --set batch.micro_size="$size" --set batch.global_size=$((size * microbatches)))
  [ -f "$costs" ] || build/bin/desta-train "$config" "${base[@]}" "${shape[@]}" --dry-run --profile "$costs" >/dev/null 2>&1
  shape+=(--set pipeline.costs="$costs")
  for fill in false true; do
    mpirun --oversubscribe -n "$stages" build/bin/desta-train "$config" "${base[@]}" "${shape[@]}" \
      --set pipeline.fill=$fill --set run.folder="$work/$fill" >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
    build/bin/desta-train "$config" "${base[@]}" "${shape[@]}" --dry-run --compare "$work/$fill" | sed "s/^/$fill /"
    rm -rf "${work:?}/$fill"
  done | awk -v name="$schedule, $stages stages of $chunks chunks" -v batches="$microbatches of $size" -v p="$stages" \
      -v m="$microbatches" -v cores="$(nproc --all)" '
    function field(  i) { for (i = 1; i < NF; ++i) if ($(i + 1) == "s") { time = $i; idle = $(i + 2) } }
    /^false run, median/ { field(); run = time; run_idle = idle }
    /^false simulated from/ { field(); sim = time; sim_idle = idle }
    /^false predicted from costs/ { field(); pre = time }
    /^true run, median/ { field(); fill = time; fill_idle = idle }
    END {
      printf "| %s | %s | %.3f s | %.3f s (%+.1f %%) | ", name, batches, run, sim, 100 * (sim / run - 1)
      if (p <= cores) printf "%.3f s (%+.1f %%) | ", pre, 100 * (pre / run - 1); else printf "| "
      printf "%.1f %% | %.1f %% | %.1f %% | %.3f s | %.1f %% |\n", run_idle, sim_idle, 100 * (p - 1) / (m + p - 1), fill, fill_idle
    }'
}
measure 1f1b 1 1 2 8
for schedule in 1f1b gpipe; do
  measure $schedule 2 1 2 8
  measure $schedule 2 1 4 4
  measure $schedule 2 1 8 2
done
measure interleaved 2 2 4 4
for schedule in 1f1b gpipe; do
  measure $schedule 3 1 6 2
  measure $schedule 4 1 8 2
done
measure interleaved 4 2 8 2
