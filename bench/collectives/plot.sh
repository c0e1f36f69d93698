#!/usr/bin/env bash
# Plots a CSV file of desta-bench-collectives beside it, as SVG: bus bandwidth over the size of the buffer, back to back.
#   bench/collectives/plot.sh FILE.csv
set -euo pipefail
csv=$1
data=$(mktemp)
trap 'rm -f "$data"' EXIT
# One block of (bytes, busbw) for each contender and memory, with its name as the title. The memory copy has no bus: its
# algorithm bandwidth is what all could reach. Of two runs of one contender the faster counts.
awk -F, 'NR > 1 && $3 == "back to back" {
    name = $1 " (" $2 ")"
    value = $1 == "memory copy" ? $10 : $11
    if (!(name in seen)) { seen[name] = 1; order[++names] = name }
    if (!((name, $6) in best)) { sizes[name] = sizes[name] " " $6 }
    if (best[name, $6] < value) { best[name, $6] = value }
  }
  END {
    for (i = 1; i <= names; ++i) {
      printf "\"%s\"\n", order[i]
      count = split(sizes[order[i]], list, " ")
      for (k = 1; k <= count; ++k) print list[k], best[order[i], list[k]]
      printf "\n\n"
    }
  }' "$csv" >"$data"
blocks=$(grep -c '^"' "$data")
gnuplot <<PLOT
set terminal svg size 900,560 font "sans-serif,12" background "white"
set output "${csv%.csv}.svg"
set logscale x 2
set logscale y 10
set format x "%.0b %BB"
set xlabel "buffer"
set ylabel "bus bandwidth, GB/s (as nccl-tests defines it)"
set key outside right
set grid
plot for [i=0:$((blocks - 1))] "$data" index i using 1:2 with linespoints title columnheader(1)
PLOT
