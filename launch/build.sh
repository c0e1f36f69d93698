#!/usr/bin/env bash
# Configures and builds into build/. Arguments go to cmake's configuration.
set -euo pipefail
cd "$(dirname "$0")/.."

cmake -S . -B build -G Ninja "$@" >build-configure.log 2>&1 || {
  cat build-configure.log
  exit 1
}
mv build-configure.log build/configure.log
ninja -C build
