#!/usr/bin/env bash
# What calls cost, beside CAF and MPI, in one run: one JSON line a figure. Needs libcaf-dev (Debian); builds the
# benchmarks in build/. The heads of bench/actors.cpp and bench/peers/caf_actors.cpp say what each figure times.
#   bench/actors.sh            the figures
#   bench/actors.sh soak       ten million calls between 4 ranks and 2 workers that are killed every second
set -euo pipefail
cd "$(dirname "$0")/.."
if ! dpkg-query -W libcaf-dev >/dev/null 2>&1; then
  echo "the peer is missing: apt-get install libcaf-dev" >&2
  exit 2
fi
launch/build.sh -DDESTA_BENCH=ON >&2
source launch/mpi_environment.sh
bin=build/bin

if [ "${1:-}" = soak ]; then
  exec mpirun -n 4 $bin/runtime_soak 10000000
fi

figures=$(mktemp)
trap 'rm -f "$figures"' EXIT
$bin/bench_actors local >>"$figures"
mpirun -n 2 $bin/bench_actors remote >>"$figures"
$bin/caf_actors >>"$figures"
mpirun -n 2 $bin/mpi_pingpong >>"$figures"
mpirun -n 4 $bin/bench_actors idle >>"$figures"
cat "$figures"
