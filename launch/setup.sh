#!/usr/bin/env bash
# Installs what the build and the programs need on Debian 12, as root or with sudo. Does nothing where
# all of it is there. Slurm, chromium, libpng and pocketsphinx's recordings are for the tests alone. NCCL is optional and not
# installed here: the build finds it beside nvcc.
set -euo pipefail

packages=(
  build-essential cmake ninja-build pkg-config
  libtorch-dev libopenblas-dev
  libopenmpi-dev openmpi-bin
  libboost-dev libcereal-dev libcli11-dev libfmt-dev libspdlog-dev nlohmann-json3-dev libyaml-cpp-dev
  libpcre2-dev libxxhash-dev libhdf5-dev libssl-dev zlib1g-dev libcld2-dev
  libsndfile1-dev libsoxr-dev libebur128-dev libespeak-ng-dev espeak-ng-data flite1-dev
  libgtest-dev libpng-dev chromium slurm-wlm munge pocketsphinx-testdata
)

missing=()
for package in "${packages[@]}"; do
  if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed'; then
    missing+=("$package")
  fi
done
if [ "${#missing[@]}" -eq 0 ]; then
  exit 0
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
  sudo=sudo
fi
echo "installing: ${missing[*]}"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
