#!/bin/sh
# `kdc check` on the main example: under 50 ms, and without a numeric library.   usage: check_time.sh KDC FILE
# The best of nine runs counts: the machine may be busy with other things.
set -eu
kdc=$1 file=$2 limit=50
best=
for i in 1 2 3 4 5 6 7 8 9; do
  begin=$(date +%s%N)
  "$kdc" check --quiet "$file"
  took=$((($(date +%s%N) - begin) / 1000))
  if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
done
echo "kdc check $file: $((best / 1000)).$((best % 1000 / 100)) ms"
# LD_DEBUG names every library that is loaded, by dlopen too.
loaded=$(LD_DEBUG=files "$kdc" check --quiet "$file" 2>&1 | grep -E 'file=lib(openblas|blas|dnnl)' || true)
if [ -n "$loaded" ]; then
  echo "kdc check loads a numeric library: $loaded"
  exit 1
fi
[ "$best" -lt $((limit * 1000)) ] || { echo "more than $limit ms"; exit 1; }
