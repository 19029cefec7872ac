#!/bin/sh
# From a bare Debian 12 to a first distillation: installs what is missing (as root or through sudo), builds, and trains.
#   usage: sh examples/quickstart.sh [kdc run options]
set -eu
cd "$(dirname "$0")/.."

echo "== packages"
sh tests/setup.sh build
program=examples/fitnet.kd
if ! sh tests/setup.sh data; then
  program=examples/digits.kd
  echo "Fashion-MNIST (Debian package dataset-fashion-mnist) could not be installed: $program runs instead, on digits that lie in this repository."
fi

echo "== build (build/release)"
mkdir -p build/log
if ! { cmake --preset release && nice cmake --build build/release --parallel "$(nproc)" --target kdc; } </dev/null >build/log/quickstart.log 2>&1; then
  tail -40 build/log/quickstart.log >&2
  echo "the build failed; all of it is in build/log/quickstart.log" >&2
  exit 1
fi

echo "== kdc run $program"
exec build/release/kdc run "$@" "$program"
