#!/usr/bin/env bash
# Installs what is missing, builds with warnings as errors, and runs every test.
set -euo pipefail
cd "$(dirname "$0")/.."

launch/setup.sh
launch/build.sh -DDESTA_WERROR=ON
source launch/mpi_environment.sh
ctest --test-dir build --output-on-failure "$@"
