#!/bin/sh
# Size test: no file of source, test or library has more than 800 lines; prints the ten longest files and functions.   usage: sizes.sh ROOT
set -eu
cd "$1"
limit=800
list() { find compiler runtime grammar include stdlib tests examples cmake -type f \
  \( -name '*.[chy]' -o -name '*.re' -o -name '*.def' -o -name '*.kd' -o -name '*.sh' -o -name '*.cmake' \) ! -path '*/corpus/*' | sort; }
echo "longest files:"
list | xargs awk '{ n[FILENAME]++ } END { for (f in n) print n[f], f }' | sort -rn | head -10 | awk '{ printf "  %5d  %s\n", $1, $2 }'
echo "longest functions:"
# A function begins at a line that starts at column 1, ends in `{` and has a `(`; it ends at the next line that is only `}`.
list | grep -E '\.(c|y|re)$' | xargs awk '
  FNR == 1 { start = 0 }
  /^[A-Za-z_].*\(.*\{[ \t]*$/ && !/^(struct|enum|union|typedef)/ && !/=[ \t]*\{/ { start = FNR; head = $0; next }
  /^[A-Za-z_].*\([^;]*$/ && !/[{};]/ { if (!start) { maybe = FNR; head2 = $0 } next }
  /^\{/ && maybe { start = maybe; head = head2; maybe = 0 }
  /^}/ && start {
    name = head; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name)
    print FNR - start + 1, FILENAME ":" start, name; start = 0; maybe = 0
  }' | sort -rn | head -10 | awk '{ printf "  %5d  %s (%s)\n", $1, $3, $2 }'
long=$(list | xargs awk -v limit=$limit '{ n[FILENAME]++ } END { for (f in n) if (n[f] > limit) print f ": " n[f] " lines, more than " limit }' | sort)
[ -z "$long" ] || { echo "$long"; exit 1; }
