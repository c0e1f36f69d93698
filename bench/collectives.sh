#!/usr/bin/env bash
# All-reduces of our own beside Open MPI's (tuned and han), gloo's and the machine's memory: 2 and 4 ranks on this host,
# 4 ranks on two hosts made of network namespaces (as root), with the link as fast as the kernel makes it and as 10 Gbit/s.
# Prints tables, writes CSV and SVG plots to the folder given (default: build/collectives). Needs libgloo-dev and gnuplot-nox
# (Debian); builds the benchmarks in build/.
#   bench/collectives.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
for package in libgloo-dev gnuplot-nox; do
  if ! dpkg-query -W "$package" >/dev/null 2>&1; then
    echo "it is missing: apt-get install $package" >&2
    exit 2
  fi
done
if [ -z "${DESTA_BENCH_BUILT:-}" ]; then
  launch/build.sh -DDESTA_BENCH=ON >&2
fi
source launch/mpi_environment.sh
folder=${1:-build/collectives}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
rm -f "$folder"/*.csv
bench=$PWD/build/bin/desta-bench-collectives
flat="direct;ring;recursive-doubling;halving-doubling;open-mpi"
# The peers' best on one host is what they are with one another: every rank in memory that all see.
# han of Open MPI 4.1 crashes when it reduces in place over two hosts, so it reduces from another buffer there.
han="--mca coll_han_priority 100"

for ranks in 2 4; do
  echo "== $ranks ranks on one host"
  csv=$folder/one_host_$ranks.csv
  mpirun -n $ranks "$bench" --algorithms "shared-memory;$flat" --open-mpi "Open MPI tuned" --csv "$csv"
  mpirun $han -n $ranks "$bench" --algorithms shared-memory --no-peers --open-mpi "Open MPI han" --csv "$csv"
done

sizes=8,1024,4096,65536,262144,1048576,4194304,16777216,67108864
hierarchical="auto;hierarchical+direct;hierarchical+ring;hierarchical+halving-doubling"
for link in "" 10gbit; do
  echo "== 4 ranks on two hosts, link: ${link:-as fast as the kernel makes it}"
  csv=$folder/two_hosts${link:+_10gbit}.csv
  bench/collectives/two_hosts.sh $link -- "$bench" --sizes $sizes --algorithms "'$hierarchical;direct'" \
    --no-peers --open-mpi "'Open MPI tuned'" --csv "$csv"
  bench/collectives/two_hosts.sh $link -- $han "$bench" --sizes $sizes --algorithms "hierarchical+ring" \
    --no-peers --open-mpi "'Open MPI han'" --open-mpi-from-another --csv "$csv"
done

for csv in "$folder"/*.csv; do
  bench/collectives/plot.sh "$csv"
done
