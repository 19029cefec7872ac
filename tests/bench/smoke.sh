#!/bin/sh
# Every workload of tests/bench compiles and runs two steps of small batches with finite losses, and what is trained changes them.   usage: smoke.sh KDC
set -eu
kdc=$1 here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$kdc" run --quiet --out "$work/data" "$here/prepare.kd"
for f in "$here"/*.kd "$here"/alone/*.kd; do
  case "$f" in */prepare.kd | */bench_nets.kd) continue ;; */alone/*) distinct=1 ;; *) distinct=2 ;; esac      # alone/: tensors that stay as they are
  # exit code 3 where a loss is not finite
  "$kdc" run --quiet --checkpoint 0 --data "$work/data" --out "$work/run" --set steps=2 --set batch=4 --steps "$work/steps" "$f" || { echo "$f does not run" >&2; exit 1; }
  [ "$(sed 's/.*"loss"://' "$work/steps" | sort -u | wc -l)" = $distinct ] || { echo "$f: $distinct different losses expected:" >&2; cat "$work/steps" >&2; exit 1; }
done
