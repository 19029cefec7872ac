#!/bin/sh
# Layer test: every #include "..." of the product is held against tests/layers.txt.   usage: layers.sh ROOT
set -eu
cd "$1"
find compiler runtime grammar include -type f \
  \( -name '*.[chy]' -o -name '*.re' -o -name '*.def' -o -name '*.inc' \) 2>/dev/null | sort | xargs awk '
  FILENAME == "tests/layers.txt" {
    sub(/#.*/, "")
    if (!match($0, /:/)) next
    f = substr($0, 1, RSTART - 1); known[f] = 1
    n = split(substr($0, RSTART + 1), part, " ")
    for (i = 1; i <= n; i++) may[f, part[i]] = 1
    next
  }
  FNR == 1 {
    folder = FILENAME; sub(/\/[^\/]*$/, "", folder)
    if (!(folder in known) && !(folder in told)) { told[folder] = 1; bad++; print folder ": has no line in tests/layers.txt" }
    files++
  }
  /^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, q, "\""); h = q[2]; d = h
    if (!sub(/\/[^\/]*$/, "", d)) next                    # a bare name: made in the build tree, or next to the file
    includes++
    if (d == folder || (folder, d) in may || (folder, h) in may) next
    bad++; print FILENAME ":" FNR ": " folder " may not include " h
  }
  END {
    print includes " includes of " files " files, " bad + 0 " against the layers"
    exit bad > 0
  }' tests/layers.txt
