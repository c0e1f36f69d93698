#!/usr/bin/env bash
# A dataset of many rows, made up and deleted again: opened, shuffled, read anywhere, scanned, resumed; each
# in a process of its own, the first time with the kernel's cache of its files emptied.
#   bench/dataset.sh [ROWS [ROWS_PER_SHARD]]      default 5000000 rows, 1000 a shard
set -euo pipefail
cd "$(dirname "$0")/.."

rows=${1:-5000000}
per_shard=${2:-1000}
folder=$(mktemp -d "${TMPDIR:-/tmp}/desta-dataset.XXXXXX")
trap 'rm -rf "$folder"' EXIT

build/bin/bench_dataset make "$folder" "$rows" "$per_shard"
du -sh "$folder"
echo "cold:"
for what in read resume; do
  build/bin/bench_dataset evict "$folder"
  build/bin/bench_dataset "$what" "$folder"
done
echo "warm:"
for what in read read read resume resume resume scan; do
  build/bin/bench_dataset "$what" "$folder"
done
