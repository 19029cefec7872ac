#!/bin/sh
# Gives every file of a folder of .kd files to `kdc check`, and the example of every definition's comment, cut out, too.
#   usage: examples.sh KDC STDLIB
# A definition without a comment or without an example fails, and so does an example with an error or a warning.
set -eu
kdc=$1
library=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find "$library" -name '*.kd' | sort | while read -r file; do
  name=$(printf '%s' "${file#"$library"/}" | sed 's/\.kd$//; s#/#.#g')
  # one file for each block, named after the definition that follows it; definitions without one go to missing.txt
  awk -v out="$work/$name" -v missing="$work/missing.txt" -v file="$file" '
    /^\/\/\/ ```kd$/ { inside = 1; block = ""; next }
    inside && /^\/\/\/ ```$/ { inside = 0; have = 1; next }
    inside { block = block substr($0, 5) "\n"; next }
    /^\/\/\// { next }
    /^(loss|net|transform|fn|optimizer|metric|data|scheme) [A-Za-z_0-9]+\(/ {
      split($2, part, "(")
      if (have) { printf "%s", block > (out "." part[1] ".kd"); close(out "." part[1] ".kd") }
      else print file ": " part[1] > missing
    }
    { have = 0 }' "$file"
done

if [ -s "$work/missing.txt" ]; then
  echo "definitions without an example:" >&2
  cat "$work/missing.txt" >&2
  exit 1
fi
count=$(find "$work" -name '*.kd' | wc -l)
[ "$count" -gt 0 ] || { echo "no examples in $library" >&2; exit 1; }
"$kdc" check --stdlib "$library" --data "$library/../examples" "$work"/*.kd >"$work/found" 2>"$work/said" || { cat "$work/said" >&2; exit 1; }
find "$library" -name '*.kd' | sort | xargs "$kdc" check --stdlib "$library" --data "$library/../examples" >"$work/found" 2>>"$work/said" || { cat "$work/said" >&2; exit 1; }
if grep -q ': warning:' "$work/said"; then cat "$work/said" >&2; exit 1; fi
echo "$count examples checked"
